//! Smooth weighted round robin: over any run of requests each server gets its share, and no
//! server gets its requests in a burst. Pure.

/// One that may be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Candidate {
    /// Its position in the caller's list.
    pub(super) index: usize,
    /// Its weight, above 0.
    pub(super) weight: u16,
}

/// Chooses among candidates. `credit` has one entry for each position in the caller's list and
/// carries what each is owed from one choice to the next.
pub(super) fn choose(
    candidates: impl Iterator<Item = Candidate>,
    credit: impl Fn(usize) -> i64,
) -> Option<Choice> {
    let mut total = 0;
    let mut best: Option<(usize, i64)> = None;
    for Candidate { index, weight } in candidates {
        let owed = credit(index) + i64::from(weight);
        total += i64::from(weight);
        if best.is_none_or(|(_, most)| owed > most) {
            best = Some((index, owed));
        }
    }
    best.map(|(index, _)| Choice { index, total })
}

/// Who was chosen, and what that costs them in credit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) index: usize,
    pub(super) total: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds(weights: &[u16], rounds: usize) -> Vec<usize> {
        let mut credit = vec![0; weights.len()];
        let mut chosen = Vec::new();
        for _ in 0..rounds {
            let candidates = || {
                weights
                    .iter()
                    .enumerate()
                    .map(|(index, &weight)| Candidate { index, weight })
            };
            let choice = choose(candidates(), |i| credit[i]).expect("somebody");
            for (owed, weight) in credit.iter_mut().zip(weights) {
                *owed += i64::from(*weight);
            }
            credit[choice.index] -= choice.total;
            chosen.push(choice.index);
        }
        chosen
    }

    #[test]
    fn shares_are_exact_over_each_full_round() {
        let chosen = rounds(&[5, 95], 1_000);
        assert_eq!(chosen.iter().filter(|i| **i == 0).count(), 50);
        let thirds = rounds(&[2, 3, 95, 0], 1_000);
        let of = |who| thirds.iter().filter(|i| **i == who).count();
        assert_eq!((of(0), of(1), of(2)), (20, 30, 950));
    }

    #[test]
    fn a_heavy_server_gets_no_burst() {
        assert_eq!(rounds(&[5, 1, 1], 7), [0, 0, 1, 0, 2, 0, 0]);
    }

    #[test]
    fn nobody_is_chosen_among_nobody() {
        assert_eq!(choose(std::iter::empty(), |_| 0), None);
    }
}
