//! The line in front of an upstream of which every endpoint has as much as it can take: who is next, and who is told to come
//! back later.
//!
//! A plain line answers nobody once more comes than is served: everybody waits until just after their caller has given up, and
//! every answer is thrown away. So the line knows two states. In a busy moment it is first come, first served, and nobody is
//! refused. When somebody has stood in it for a whole interval, the moment is not going to pass: then the newest are served first
//! (their callers still wait), and who has waited for longer than the target is refused while a retry elsewhere still helps
//! (CoDel, adaptive LIFO: Maurer, "Fail at scale", 2015). An interval of waiting, not a line that is not empty for one, is what
//! tells overload from a load of 95 %, whose line is hardly ever empty and always passes.
//!
//! A higher class is served before a lower, always: while the higher alone is too much, the lower has no use of anything. And what is
//! too much of the lower is no reason to refuse anybody of the higher: a class has more than is served only if somebody of it, or of
//! those above, has stood for an interval.

use super::criticality;
use super::shed::{Rank, Shed};
use std::collections::VecDeque;
use unlag_config::{Criticality, Queue};
use unlag_record::Bound;

/// Who waits for longer than the target is refused, once somebody has waited for an interval: CoDel's figures for a service that
/// answers within a few milliseconds (RFC 8289 §4.2, §4.3: the target is a twentieth of the interval).
const TARGET_NS: u64 = 5_000_000;
const INTERVALS: u64 = 20;

/// How patient a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Waiting for so long is as it should be.
    pub target_ns: u64,
    /// Having to wait for so long says that more comes than is served.
    pub interval_ns: u64,
    /// The longest wait.
    pub wait_max_ns: u64,
    /// How many may wait.
    pub length_max: usize,
}

impl Patience {
    /// For a service that takes `base_ns` without load: in front of one that takes a second, five milliseconds are no wait.
    pub fn of(base_ns: u64, queue: &Queue) -> Patience {
        let (wait_max_ns, length_max) = (crate::clock::ns(queue.wait_max), queue.length_max as usize);
        Patience::with(base_ns, wait_max_ns, length_max)
    }

    /// The same in front of a service that was learned to take `base_ns`.
    pub fn in_front_of(self, base_ns: u64) -> Patience {
        Patience::with(base_ns, self.wait_max_ns, self.length_max)
    }

    fn with(base_ns: u64, wait_max_ns: u64, length_max: usize) -> Patience {
        let target_ns = TARGET_NS.max(base_ns).min(wait_max_ns / 4);
        let interval_ns = (target_ns * INTERVALS).min(wait_max_ns / 2);
        Patience { target_ns, interval_ns, wait_max_ns, length_max }
    }
}

impl Default for Patience {
    fn default() -> Patience {
        Patience::of(0, &Queue::default())
    }
}

/// One who waits.
#[derive(Debug)]
struct Place<T> {
    id: u64,
    since_ns: u64,
    due_ns: u64,
    who: T,
}

/// Where somebody stands, for leaving.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Standing {
    class: Criticality,
    id: u64,
}

/// Those who wait, in the order in which they came, by class.
#[derive(Debug)]
pub struct Line<T> {
    classes: [VecDeque<Place<T>>; criticality::ALL.len()],
    length: usize,
    next_id: u64,
    /// Of so many classes, from the lowest, more comes than is served.
    overloaded: usize,
    shed: Shed,
    patience: Patience,
}

impl<T> Default for Line<T> {
    fn default() -> Line<T> {
        Line {
            classes: Default::default(),
            length: 0,
            next_id: 0,
            overloaded: 0,
            shed: Shed::default(),
            patience: Patience::default(),
        }
    }
}

impl<T> Line<T> {
    /// How many wait.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether nobody does.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// How patient it is from now on.
    pub fn set_patience(&mut self, patience: Patience) {
        self.patience = patience;
    }

    /// How patient it is.
    pub fn patience(&self) -> Patience {
        self.patience
    }

    /// Whether more comes than is served.
    #[cfg(test)]
    pub fn is_overloaded(&self) -> bool {
        self.overloaded > 0
    }

    /// Somebody comes who is of use until `due_ns`. Gives back who is refused at once, and why; who has to give up a place for the
    /// newcomer is put into `refused`.
    pub fn arrive(
        &mut self,
        rank: Rank,
        due_ns: u64,
        who: T,
        now: u64,
        refused: &mut Vec<T>,
    ) -> Result<Standing, (T, Bound)> {
        self.look(now);
        if !self.shed.admits(rank) {
            return Err((who, Bound::Class));
        }
        if due_ns <= now {
            // Without a line nobody may wait, for however short.
            let bound = if self.patience.length_max == 0 { Bound::Length } else { Bound::Wait };
            return Err((who, bound));
        }
        let class = rank.class();
        let is_full = self.length >= self.patience.length_max;
        let line = match !is_full || self.make_room(class, now, refused) {
            true => self.classes.get_mut(class as usize),
            false => None,
        };
        let Some(line) = line else {
            self.shed.left(class, 0, true);
            return Err((who, Bound::Length));
        };
        self.next_id += 1;
        let id = self.next_id;
        line.push_back(Place { id, since_ns: now, due_ns, who });
        self.length += 1;
        Ok(Standing { class, id })
    }

    /// The highest class of which somebody waits.
    pub fn highest(&self) -> Option<usize> {
        self.classes.iter().rposition(|line| !line.is_empty())
    }

    /// There is room for one of those that `fit`. Those who have waited too long for it to help go into `refused`.
    pub fn next(&mut self, now: u64, refused: &mut Vec<T>, mut fits: impl FnMut(&T) -> bool) -> Option<T> {
        self.look(now);
        let next = loop {
            let Some((class, place)) = self.take_next(|place| fits(&place.who)) else { break None };
            let is_doomed = place.due_ns <= now;
            self.shed.left(class, now.saturating_sub(place.since_ns), is_doomed);
            match is_doomed {
                true => refused.push(place.who),
                false => break Some(place.who),
            }
        };
        self.cull(now, refused);
        self.settle();
        next
    }

    /// Somebody goes away, or has waited long enough.
    pub fn leave(&mut self, standing: Standing, now: u64) -> Option<T> {
        let line = self.classes.get_mut(standing.class as usize)?;
        let at = line.binary_search_by_key(&standing.id, |place| place.id).ok()?;
        let place = line.remove(at)?;
        if place.due_ns <= now {
            self.shed.left(standing.class, now.saturating_sub(place.since_ns), true);
        }
        self.length -= 1;
        self.settle();
        Some(place.who)
    }

    /// The present state of things.
    fn look(&mut self, now: u64) {
        let stands = |place: &Place<T>| now.saturating_sub(place.since_ns) >= self.patience.interval_ns;
        let has_stood = |line: &VecDeque<Place<T>>| line.front().is_some_and(stands);
        let highest = self.classes.iter().rposition(has_stood);
        self.overloaded = self.overloaded.max(highest.map_or(0, |class| class + 1));
        self.shed.turn(self.patience.target_ns, self.patience.interval_ns, now);
    }

    /// A class has less than is served again once nobody of it and of those above waits.
    fn settle(&mut self) {
        self.overloaded = self.overloaded.min(self.highest().map_or(0, |class| class + 1));
    }

    fn take_next(&mut self, mut fits: impl FnMut(&Place<T>) -> bool) -> Option<(Criticality, Place<T>)> {
        for (class, line) in criticality::ALL.into_iter().zip(&mut self.classes).rev() {
            let newest_first = (class as usize) < self.overloaded;
            let at =
                if newest_first { line.iter().rposition(&mut fits) } else { line.iter().position(&mut fits) };
            if let Some(place) = at.and_then(|at| line.remove(at)) {
                self.length -= 1;
                return Some((class, place));
            }
        }
        None
    }

    /// Refuses who has waited for longer than the target: those of their class and above who came after them are served before
    /// them. Where nobody came after them, they were a crowd that came at once, and are served as fast as can be.
    fn cull(&mut self, now: u64, refused: &mut Vec<T>) {
        let target_ns = self.patience.target_ns;
        let is_late = |since_ns: u64| now.saturating_sub(since_ns) > target_ns;
        let mut newest_ns = None;
        for (class, line) in criticality::ALL.into_iter().zip(&mut self.classes).rev() {
            newest_ns = newest_ns.max(line.back().map(|place| place.since_ns));
            if class as usize >= self.overloaded || newest_ns.is_none_or(is_late) {
                continue;
            }
            while let Some(place) = line.pop_front_if(|place| is_late(place.since_ns) || place.due_ns <= now)
            {
                self.length -= 1;
                self.shed.left(class, now.saturating_sub(place.since_ns), true);
                refused.push(place.who);
            }
        }
    }

    /// Somebody of a lower class gives up their place; of the same, who has waited longest, once the newest are served first.
    fn make_room(&mut self, class: Criticality, now: u64, refused: &mut Vec<T>) -> bool {
        let all = criticality::ALL.into_iter().zip(&mut self.classes);
        let Some((lowest, line)) = all.into_iter().find(|(_, line)| !line.is_empty()) else { return false };
        if lowest > class || lowest == class && lowest as usize >= self.overloaded {
            return false;
        }
        let Some(place) = line.pop_front() else { return false };
        self.length -= 1;
        self.shed.left(lowest, now.saturating_sub(place.since_ns), true);
        refused.push(place.who);
        true
    }
}
