//! Which techniques acted on a request, and which it was made to pass by: what says how much each of them saves.

/// A technique that requests can be held out of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Technique {
    /// Answers that are stored; held out: the origin is asked.
    Cache,
    /// One fetch for all who ask at once; held out: a fetch of its own.
    Coalesce,
    /// A second copy; held out: none.
    Hedge,
    /// The adaptive choice of an endpoint; held out: whose turn it is.
    Balance,
    /// Encoded answers; held out: as they are.
    Compress,
}

impl Technique {
    /// How many there are.
    pub const COUNT: usize = 5;

    /// Every one.
    pub const ALL: [Technique; Self::COUNT] =
        [Technique::Cache, Technique::Coalesce, Technique::Hedge, Technique::Balance, Technique::Compress];

    /// The name used in metrics labels, logs and the API.
    pub const fn name(self) -> &'static str {
        match self {
            Technique::Cache => "cache",
            Technique::Coalesce => "coalesce",
            Technique::Hedge => "hedge",
            Technique::Balance => "balance",
            Technique::Compress => "compress",
        }
    }

    /// The position in [`Technique::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// What one request took part in. Empty where its route holds nobody out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Trials {
    part: u8,
    held: u8,
}

impl Trials {
    /// It took part in the trial of a technique.
    pub fn note(&mut self, technique: Technique, is_held: bool) {
        let bit = 1 << technique.index();
        self.part |= bit;
        self.held |= if is_held { bit } else { 0 };
    }

    /// Whether it took part in none.
    pub const fn is_empty(self) -> bool {
        self.part == 0
    }

    /// The techniques whose trial it took part in, and whether it was held out.
    pub fn each(self) -> impl Iterator<Item = (Technique, bool)> {
        let is = |bits: u8, technique: Technique| bits & (1 << technique.index()) != 0;
        let part = Technique::ALL.into_iter().filter(move |technique| is(self.part, *technique));
        part.map(move |technique| (technique, is(self.held, technique)))
    }

    /// The techniques that it was held out of.
    pub fn held(self) -> impl Iterator<Item = Technique> {
        self.each().filter(|(_, held)| *held).map(|(technique, _)| technique)
    }
}
