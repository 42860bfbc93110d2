use super::read::PAGE_LINES;
use super::*;

fn begin(directory: &Path) -> Output {
    Output::begin(directory.join("test.1.log"), Newest::default()).expect("begun")
}

/// Everything that can be read, and how many lines are said to be missing.
fn read_all(base: &Path) -> (Vec<(u64, String)>, u64) {
    let (mut lines, mut skipped, mut from) = (Vec::new(), 0, 0);
    loop {
        let page = page(base, from).expect("readable").expect("kept");
        assert!(page.lines.len() <= PAGE_LINES);
        if page.lines.is_empty() {
            return (lines, skipped);
        }
        skipped += page.skipped;
        let first = from + page.skipped;
        assert_eq!(page.next, first + page.lines.len() as u64);
        let numbered = page.lines.iter().enumerate();
        lines.extend(numbered.map(|(index, line)| (first + index as u64, line.to_string())));
        from = page.next;
    }
}

fn sizes(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).expect("readable").flatten();
    entries
        .map(|entry| entry.metadata().expect("there").len())
        .sum()
}

#[test]
fn what_was_written_is_read_while_it_runs_and_after_its_end() {
    let directory = tempfile::tempdir().expect("a directory");
    let base = directory.path().join("test.1.log");
    let mut output = begin(directory.path());
    output.take(b"one\ntwo\nthr");
    output.say("a word of our own");
    let (lines, _) = read_all(&base);
    let texts: Vec<_> = lines.iter().map(|(_, text)| &**text).collect();
    assert_eq!(texts, ["one", "two", "[wheelhouse] a word of our own"]);
    output.take(b"ee\nfour");
    output.end();
    let (lines, skipped) = read_all(&base);
    let last: Vec<_> = lines[3..].iter().map(|(_, text)| &**text).collect();
    assert_eq!((last, skipped), (vec!["three", "four"], 0));
    let names: Vec<_> = files_of(&base).expect("listed");
    assert_eq!(names, [packed_path(&base)], "one file is left");
    let late = page(&base, 1_000).expect("readable").expect("kept");
    assert_eq!((late.next, late.lines.len()), (5, 0));
}

#[test]
fn fault_144_a_flood_keeps_its_beginning_and_its_newest_lines_and_counts_the_rest() {
    let directory = tempfile::tempdir().expect("a directory");
    let base = directory.path().join("test.1.log");
    let mut output = begin(directory.path());
    let mut written = 0_u64;
    let line = "x".repeat(200);
    while written < 50_000 {
        let chunk: String = (written..written + 1_000)
            .map(|number| format!("{number} {line}\n"))
            .collect();
        output.take(chunk.as_bytes());
        written += 1_000;
    }
    assert!(sizes(directory.path()) < 6 * 1024 * 1024);
    let live = read_all(&base);
    output.end();
    let packed = read_all(&base);
    assert_eq!(live, packed, "the same before and after its end");
    let (lines, skipped) = packed;
    assert_eq!(lines.len() as u64 + skipped, written);
    assert!(skipped > 0);
    for (number, text) in &lines {
        assert!(text.starts_with(&format!("{number} ")), "{number}: {text}");
    }
    let newest: usize = lines
        .iter()
        .rev()
        .take_while(|(number, _)| *number > skipped)
        .map(|(_, text)| text.len())
        .sum();
    assert!(newest > 4 * 1024 * 1024 - 300 * 1024, "{newest}");
    assert_eq!(lines[0].0, 0);
}

#[test]
fn a_new_attempt_of_the_same_name_begins_empty_and_a_crash_leaves_what_can_be_read_and_packed() {
    let directory = tempfile::tempdir().expect("a directory");
    let base = directory.path().join("test.1.log");
    let mut output = begin(directory.path());
    output.take("old\n".repeat(100_000).as_bytes());
    drop(output);
    let before = read_all(&base);
    compress(&base).expect("packed");
    assert_eq!(read_all(&base), before);
    let mut output = begin(directory.path());
    output.take(b"new\n");
    drop(output);
    assert_eq!(read_all(&base).0, [(0, "new".to_owned())]);
}

#[test]
fn another_attempts_files_are_not_touched_and_an_unknown_one_is_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    for name in [
        "test.1.log.2.log",
        "test.1.log.x",
        "a.test.1.log",
        "test.1.logs",
    ] {
        fs::write(directory.path().join(name), "1 theirs\n").expect("written");
    }
    begin(directory.path()).end();
    begin(directory.path()).end();
    assert_eq!(fs::read_dir(directory.path()).expect("listed").count(), 5);
    let unknown = page(&directory.path().join("test.2.log"), 0).expect("readable");
    assert_eq!(unknown, None);
    let gone = page(Path::new("/nonexistent/test.1.log"), 0).expect("readable");
    assert_eq!(gone, None);
}

#[test]
fn the_failing_line_and_the_newest_are_known() {
    let directory = tempfile::tempdir().expect("a directory");
    let newest = Newest::default();
    let base = directory.path().join("test.1.log");
    let mut output = Output::begin(base, newest.clone()).expect("begun");
    output.hide("TOKEN", "hunter2-token");
    output.take(b"error: no hunter2-token here\nbye\n\n");
    assert_eq!(newest.get().expect("there").as_str(), "bye");
    output.say("error: of our own");
    let why = output.failing().why("exit code 1");
    assert_eq!(why.as_str(), "exit code 1: error: no [secret TOKEN] here");
    assert_eq!(
        newest.get().expect("there").as_str(),
        "[wheelhouse] error: of our own"
    );
}
