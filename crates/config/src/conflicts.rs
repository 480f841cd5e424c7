//! Finds pairs of routes that can match the same request and are equally specific.
//!
//! Only routes of one group (host, method, number of literals, number of conditions, with or without a rest)
//! can tie. Within a group the patterns are put into a tree by segment, and each walks the tree along every
//! branch that it overlaps: thousands of routes with common prefixes cost one walk each, not one comparison
//! with every other.

use std::collections::HashMap;

use crate::pattern::{Pattern, Segment};

/// A route as far as matching goes.
pub(crate) struct Candidate<'c> {
    pub(crate) pattern: &'c Pattern,
    pub(crate) headers: &'c [(String, String)],
}

type Group<'c> = (Option<&'c str>, Option<&'c str>, usize, usize, bool);

/// Ties as pairs of indices, the earlier route first; at most one for each later route.
pub(crate) fn ties(candidates: &[Candidate<'_>]) -> Vec<(usize, usize)> {
    let mut groups: HashMap<Group<'_>, Node<'_>> = HashMap::new();
    let mut ties = Vec::new();
    for (index, candidate) in candidates.iter().enumerate() {
        let pattern = candidate.pattern;
        let (_, literals, _, headers, closed) = pattern.specificity(candidate.headers.len());
        let group = (pattern.host.as_deref(), pattern.method.as_deref(), literals, headers, closed);
        let tree = groups.entry(group).or_default();
        let clashes = |other: &usize| {
            candidates.get(*other).is_some_and(|other| compatible(other.headers, candidate.headers))
        };
        if let Some(other) = tree.find(&pattern.segments, &clashes) {
            ties.push((other, index));
        }
        tree.insert(&pattern.segments, index);
    }
    ties
}

/// Whether one request can meet both sets of conditions: no header is asked to have two values.
fn compatible(one: &[(String, String)], two: &[(String, String)]) -> bool {
    one.iter().all(|(name, value)| two.iter().all(|(other, wanted)| name != other || value == wanted))
}

/// Where patterns branch. The depth is bounded by the number of segments that a pattern may have.
#[derive(Default)]
struct Node<'c> {
    literals: HashMap<&'c str, Node<'c>>,
    one: Option<Box<Node<'c>>>,
    /// Routes whose rest starts here.
    rest: Vec<usize>,
    /// Routes that end here.
    end: Vec<usize>,
}

impl<'c> Node<'c> {
    fn insert(&mut self, segments: &'c [Segment], route: usize) {
        match segments.split_first() {
            None => self.end.push(route),
            Some((Segment::Rest(_), _)) => self.rest.push(route),
            Some((Segment::Literal(literal), behind)) => {
                self.literals.entry(literal).or_default().insert(behind, route);
            }
            Some((Segment::One(_), behind)) => self.one.get_or_insert_default().insert(behind, route),
        }
    }

    /// The first route that `wanted` accepts among those whose pattern overlaps `segments` from here on.
    fn find(&self, segments: &[Segment], wanted: &dyn Fn(&usize) -> bool) -> Option<usize> {
        if let Some(route) = self.rest.iter().find(|route| wanted(route)) {
            return Some(*route);
        }
        match segments.split_first() {
            None => self.end.iter().find(|route| wanted(route)).copied(),
            Some((Segment::Rest(_), _)) => self.any(wanted),
            Some((Segment::Literal(literal), behind)) => {
                let same = self.literals.get(literal.as_str()).and_then(|node| node.find(behind, wanted));
                let one = || self.one.as_ref().filter(|_| !literal.is_empty())?.find(behind, wanted);
                same.or_else(one)
            }
            Some((Segment::One(_), behind)) => {
                let one = self.one.as_ref().and_then(|node| node.find(behind, wanted));
                let literals = || {
                    let named = self.literals.iter().filter(|(literal, _)| !literal.is_empty());
                    named.filter_map(|(_, node)| node.find(behind, wanted)).min()
                };
                one.or_else(literals)
            }
        }
    }

    /// The first route that `wanted` accepts, here or below.
    fn any(&self, wanted: &dyn Fn(&usize) -> bool) -> Option<usize> {
        let below =
            self.literals.values().chain(self.one.as_deref()).filter_map(|node| node.any(wanted)).min();
        self.end.iter().chain(&self.rest).copied().filter(|route| wanted(route)).chain(below).min()
    }
}

#[cfg(test)]
mod tests;
