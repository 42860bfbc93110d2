use super::*;

const ESC_MS: u64 = 40;

/// Feeds pieces with the pauses before them, then waits; tells the keys only.
fn keys(pieces: &[(u64, &[u8])]) -> Vec<Key> {
    heard(pieces)
        .into_iter()
        .filter_map(|heard| match heard {
            Heard::Key(key, _) => Some(key),
            _ => None,
        })
        .collect()
}

fn heard(pieces: &[(u64, &[u8])]) -> Vec<Heard> {
    let mut decoder = Decoder::new(ESC_MS);
    let mut now_ms = 1_000;
    let mut all = Vec::new();
    for (pause_ms, bytes) in pieces {
        for _ in 0..*pause_ms {
            now_ms += 1;
            all.extend(decoder.tick(now_ms));
        }
        all.extend(decoder.feed(bytes, now_ms));
    }
    all.extend(decoder.tick(now_ms + 10_000));
    all
}

#[test]
fn keys_are_told_in_every_dialect() {
    for (bytes, key) in [
        (&b"\x1b[A"[..], Key::Up),
        (b"\x1bOA", Key::Up),
        (b"\x1b[1;5C", Key::Right),
        (b"\x1b[5~", Key::PageUp),
        (b"\x1bOP", Key::F(1)),
        (b"\x1b[[A", Key::F(1)),
        (b"\x1b[Z", Key::BackTab),
        (b"\r", Key::Enter),
        (b"\x0c", Key::Ctrl('l')),
        (b"\x7f", Key::Backspace),
        ("é".as_bytes(), Key::Char('é')),
        (b"\x1b", Key::Esc),
        (b"\x1bx", Key::Alt('x')),
    ] {
        assert_eq!(keys(&[(0, bytes)]), [key], "{bytes:?}");
    }
}

#[test]
fn a_sequence_split_anywhere_after_any_pause_never_becomes_a_letter() {
    let sequences: [&[u8]; 7] = [
        b"\x1b[A",
        b"\x1b[1;5H",
        b"\x1bOP",
        b"\x1b[15~",
        b"\x1b]11;rgb:1e1e/1e1e/1e1e\x07",
        b"\x1b[?62;4c",
        b"\x1bP1+r544e\x1b\\",
    ];
    for sequence in sequences {
        for cut in 1..sequence.len() {
            for pause_ms in [1, 20, 39] {
                let told = keys(&[(0, &sequence[..cut]), (pause_ms, &sequence[cut..])]);
                let letters = told
                    .iter()
                    .filter(|key| matches!(key, Key::Char(_) | Key::Alt(_)));
                assert_eq!(
                    letters.count(),
                    0,
                    "{sequence:?} {cut} {pause_ms}: {told:?}"
                );
            }
        }
    }
}

#[test]
fn the_late_half_of_an_arrow_is_swallowed_after_the_esc_was_told() {
    let told = keys(&[(0, b"\x1b"), (60, b"[A")]);
    assert_eq!(told, [Key::Esc, Key::Up], "measured on real lines");
    let told = keys(&[(0, b"\x1b"), (250, b"OP")]);
    assert_eq!(told, [Key::Esc, Key::F(1)]);
    let told = keys(&[(0, b"\x1b"), (1_000, b"[")]);
    assert_eq!(told, [Key::Esc, Key::Char('[')], "later it is a person's");
}

#[test]
fn pastes_are_one_event_however_they_are_cut() {
    let paste = b"\x1b[200~Py\rproduction\x1b[31m\x1b[201~";
    for cut in 1..paste.len() {
        let told = heard(&[(0, &paste[..cut]), (30, &paste[cut..])]);
        assert_eq!(told, [Heard::Paste], "cut at {cut}");
    }
    let late = heard(&[(0, b"\x1b"), (100, &paste[1..])]);
    assert_eq!(
        late,
        [Heard::Key(Key::Esc, Company::Alone), Heard::Paste],
        "a start that was split late"
    );
}

#[test]
fn an_unterminated_paste_ends_by_itself_and_esc_works_again() {
    let told = heard(&[(0, b"\x1b[200~y\r"), (1_500, b"\x1b")]);
    assert_eq!(told, [Heard::Paste, Heard::Key(Key::Esc, Company::Alone)]);
}

#[test]
fn keys_that_come_together_are_a_crowd() {
    let told = heard(&[(0, b"Ay\r")]);
    assert!(
        told.iter()
            .all(|heard| matches!(heard, Heard::Key(_, Company::Crowd)))
    );
    assert_eq!(
        heard(&[(0, b"y")]),
        [Heard::Key(Key::Char('y'), Company::Alone)]
    );
}

#[test]
fn any_bytes_at_all_end_in_the_ground_state() {
    use proptest::prelude::*;
    proptest!(|(bytes in proptest::collection::vec(any::<u8>(), 0..200))| {
        let mut decoder = Decoder::new(ESC_MS);
        decoder.feed(&bytes, 0);
        decoder.tick(5_000);
        decoder.tick(10_000);
        prop_assert_eq!(decoder.deadline_ms(), None);
    });
}
