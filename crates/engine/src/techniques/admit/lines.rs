//! The lines in front of one upstream: one of those who may go anywhere, and one of those who have to go to a region, for each such
//! region; and the same once more of those who have failed somewhere and have to go elsewhere. Who waits for a primary that has too
//! much to do, or for room where it has not failed yet, is in nobody else's way.

use super::queue::{Line, Patience, Standing};
use super::shed::Rank;
use crate::error::Error;
use crate::fleet::RegionId;
use std::cmp::Reverse;
use unlag_record::Bound;

/// Where somebody may go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Whither {
    /// To one region; else anywhere.
    pub only: Option<RegionId>,
    /// Not everywhere there: somebody has failed it already.
    pub has_failed: bool,
}

impl Whither {
    /// Of who has to go to that region, if to one, and has failed there.
    pub fn of(only: Option<RegionId>, failed: &[(u32, Error)]) -> Whither {
        Whither { only, has_failed: !failed.is_empty() }
    }

    fn is_choosy(self) -> bool {
        self != Whither::default()
    }
}

/// The lines. There are twice as many as regions that anybody ever had to go to, and two.
#[derive(Debug, Default)]
pub struct Lines {
    all: Vec<(Whither, Box<Line<usize>>)>,
    patience: Patience,
}

impl Lines {
    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.all.iter().map(|(_, line)| line.len()).sum()
    }

    /// Whether anybody waits who goes there.
    pub fn is_waited_in(&self, whither: Whither) -> bool {
        self.all.iter().any(|(known, line)| *known == whither && !line.is_empty())
    }

    /// As [`Line::arrive`].
    pub fn arrive(
        &mut self,
        (rank, whither): (Rank, Whither),
        due_ns: u64,
        who: usize,
        now: u64,
        refused: &mut Vec<usize>,
    ) -> Result<Standing, (usize, Bound)> {
        match self.of(whither) {
            Some(line) => line.arrive(rank, due_ns, who, now, refused),
            None => Err((who, Bound::Length)),
        }
    }

    /// As [`Line::leave`].
    pub fn leave(&mut self, whither: Whither, standing: Standing, now: u64) {
        self.of(whither).and_then(|line| line.leave(standing, now));
    }

    /// The next who fits in, of a line for which there may be room: of the highest class, and where that is the same of who has
    /// less choice.
    pub fn next(
        &mut self,
        now: u64,
        refused: &mut Vec<usize>,
        has_room: impl Fn(Whither) -> bool,
        mut fits: impl FnMut(&usize) -> bool,
    ) -> Option<usize> {
        self.all.sort_by_key(|(whither, line)| Reverse((line.highest(), whither.is_choosy())));
        let lines = self.all.iter_mut().filter(|(whither, line)| !line.is_empty() && has_room(*whither));
        // There is nobody if everybody in it had waited in vain, or does not fit in.
        lines.into_iter().find_map(|(_, line)| line.next(now, refused, &mut fits))
    }

    /// How patient they are from now on.
    pub fn set_patience(&mut self, patience: Patience) {
        self.patience = patience;
        self.all.iter_mut().for_each(|(_, line)| line.set_patience(patience));
    }

    /// How patient they are.
    pub fn patience(&self) -> Patience {
        self.patience
    }

    fn of(&mut self, whither: Whither) -> Option<&mut Line<usize>> {
        let at = self.all.iter().position(|(known, _)| *known == whither).unwrap_or_else(|| {
            let mut line = Box::<Line<usize>>::default();
            line.set_patience(self.patience);
            self.all.push((whither, line));
            self.all.len() - 1
        });
        self.all.get_mut(at).map(|(_, line)| &mut **line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use unlag_config::{Criticality, Queue};

    const ANYWHERE: Whither = Whither { only: None, has_failed: false };
    const ELSEWHERE: Whither = Whither { only: None, has_failed: true };
    const US: Whither = Whither { only: Some(RegionId(1)), has_failed: false };
    const EU: Whither = Whither { only: Some(RegionId(2)), has_failed: false };

    /// Room for three in each line, and who arrives in it: critical with an even number, else usual.
    fn with(arriving: &[(Whither, usize)]) -> (Lines, Vec<usize>) {
        let (mut lines, mut refused) = (Lines::default(), Vec::new());
        let queue = Queue { wait_max: Duration::from_secs(60), length_max: 3 };
        lines.set_patience(Patience::of(0, &queue));
        for &(whither, who) in arriving {
            let class = if who % 2 == 0 { Criticality::Critical } else { Criticality::Default };
            let arrived = lines.arrive((Rank::new(class, 0), whither), u64::MAX, who, 1, &mut refused);
            refused.extend(arrived.err().map(|(who, _)| who));
        }
        (lines, refused)
    }

    #[test]
    fn a_line_of_writes_that_is_full_refuses_no_read() {
        let (lines, refused) = with(&[(US, 1), (US, 3), (US, 5), (US, 7), (ANYWHERE, 9)]);
        assert_eq!((lines.waiting(), refused), (4, vec![7]));
        assert!(lines.is_waited_in(US) && lines.is_waited_in(ANYWHERE) && !lines.is_waited_in(EU));
    }

    #[test]
    fn who_may_go_anywhere_waits_for_nobody_who_may_not_unless_they_want_the_same_place() {
        let (mut lines, _) = with(&[(ANYWHERE, 1), (US, 3), (ANYWHERE, 5), (US, 7), (ANYWHERE, 2)]);
        let mut next =
            |has_room: &dyn Fn(Whither) -> bool| lines.next(2, &mut Vec::new(), has_room, |_| true);
        assert_eq!(next(&|whither| whither == ANYWHERE), Some(2), "the critical one first, elsewhere");
        assert_eq!(next(&|_| true), Some(3), "who has no choice");
        assert_eq!(next(&|whither| whither == ANYWHERE), Some(1));
        assert_eq!((next(&|_| false), next(&|_| true), next(&|_| true)), (None, Some(7), Some(5)));
        assert_eq!(next(&|_| true), None);
    }

    #[test]
    fn who_does_not_fit_in_is_passed_over_by_its_own_line_and_by_the_others() {
        let (mut lines, refused) = with(&[(ELSEWHERE, 1), (ELSEWHERE, 3), (ELSEWHERE, 5), (ANYWHERE, 7)]);
        assert!(refused.is_empty());
        let mut next = |fits: &dyn Fn(&usize) -> bool| lines.next(2, &mut Vec::new(), |_| true, fits);
        assert_eq!(next(&|who| *who == 7), Some(7), "nobody of the first line fits in");
        assert_eq!(next(&|who| *who != 1), Some(3), "the first of those that do");
        assert_eq!((next(&|_| false), next(&|_| true), next(&|_| true)), (None, Some(1), Some(5)));
    }
}
