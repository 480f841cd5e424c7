//! How long the last answers took: two generations of counters, of which the older is forgotten when the younger is full. A
//! quantile is found by counting through them, as finely as a thirteenth of its value.
//!
//! ```text
//! bucket 0: below 4 µs      then 8 buckets for each doubling:  4.0 4.5 5.0 … 7.5 | 8 9 … 15 | … | up to 137 s
//! ```

/// Buckets for each doubling of the time, as a power of two.
const FINE_BITS: u32 = 3;
/// What is shorter is not told apart: no answer comes over a socket in less.
const SHORTEST_BITS: u32 = 12;
/// What is longer neither: no request is patient for two minutes.
const LONGEST_BITS: u32 = 37;
/// One for what is shorter, and 8 for each doubling.
const BUCKETS: usize = 1 + ((LONGEST_BITS - SHORTEST_BITS) << FINE_BITS) as usize;

/// Counters of two generations.
#[derive(Debug, Default)]
pub struct Window {
    young: Generation,
    old: Generation,
}

#[derive(Debug)]
struct Generation {
    counts: Box<[u32; BUCKETS]>,
    total: u32,
}

impl Default for Generation {
    fn default() -> Generation {
        Generation { counts: Box::new([0; BUCKETS]), total: 0 }
    }
}

impl Window {
    /// One more that took so long.
    pub fn count(&mut self, ns: u64) {
        if let Some(count) = self.young.counts.get_mut(bucket(ns)) {
            *count += 1;
            self.young.total += 1;
        }
    }

    /// How many there are in the younger generation.
    pub fn young(&self) -> u32 {
        self.young.total
    }

    /// How many there are in both.
    pub fn total(&self) -> u32 {
        self.young.total + self.old.total
    }

    /// Begins another generation, and forgets the one before the last.
    pub fn turn(&mut self) {
        std::mem::swap(&mut self.young, &mut self.old);
        self.young.counts.fill(0);
        self.young.total = 0;
    }

    /// Adds the younger generation of another window to the younger one here.
    pub fn take_young_of(&mut self, other: &Window) {
        for (count, more) in self.young.counts.iter_mut().zip(other.young.counts.iter()) {
            *count += more;
        }
        self.young.total += other.young.total;
    }

    /// The times below which these shares of all are, in nanoseconds; the shares ascend. Zeros while there are none.
    pub fn quantiles<const N: usize>(&self, shares: &[f64; N]) -> [u64; N] {
        let mut found = [0; N];
        let total = f64::from(self.total());
        if total == 0.0 {
            return found;
        }
        let counts = self.young.counts.iter().zip(self.old.counts.iter()).map(|(a, b)| a + b);
        let mut wanted = shares.iter().map(|share| share * total).zip(found.iter_mut()).peekable();
        let mut before = 0.0;
        for (at, count) in counts.enumerate().filter(|(_, count)| *count > 0) {
            let count = f64::from(count);
            while let Some((rank, place)) = wanted.next_if(|(rank, _)| *rank <= before + count) {
                let (low, high) = bounds(at);
                *place = low + ((rank - before) / count * (high - low) as f64) as u64;
            }
            before += count;
        }
        found
    }
}

/// The bucket of a time.
fn bucket(ns: u64) -> usize {
    let bits = 63 - (ns | 1).leading_zeros();
    if bits < SHORTEST_BITS {
        return 0;
    }
    let fine = (ns >> (bits - FINE_BITS)) as usize & ((1 << FINE_BITS) - 1);
    (1 + (((bits - SHORTEST_BITS) as usize) << FINE_BITS) + fine).min(BUCKETS - 1)
}

/// Where a bucket begins and ends.
fn bounds(at: usize) -> (u64, u64) {
    let Some(at) = at.checked_sub(1) else { return (0, 1 << SHORTEST_BITS) };
    let shift = SHORTEST_BITS - FINE_BITS + (at as u32 >> FINE_BITS);
    let low = (1 << FINE_BITS | at as u64 & ((1 << FINE_BITS) - 1)) << shift;
    (low, low + (1 << shift))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_within_its_bucket_and_buckets_have_no_gaps() {
        let mut end = 0;
        for at in 0..BUCKETS {
            let (low, high) = bounds(at);
            assert_eq!(low, end);
            assert_eq!((bucket(low), bucket(high - 1)), (at, at));
            end = high;
        }
        assert_eq!((bucket(0), bucket(u64::MAX)), (0, BUCKETS - 1));
    }

    #[test]
    fn quantiles_are_those_of_what_was_counted_within_a_thirteenth() {
        let mut window = Window::default();
        (1..=10_000u64).for_each(|us| window.count(us * 1_000));
        for (share, found) in
            [0.1, 0.5, 0.99, 0.999].into_iter().zip(window.quantiles(&[0.1, 0.5, 0.99, 0.999]))
        {
            let truth = share * 1e7;
            assert!((found as f64 / truth - 1.0).abs() < 1.0 / 13.0, "{share}: {found} for {truth}");
        }
        assert_eq!(Window::default().quantiles(&[0.5]), [0]);
    }

    #[test]
    fn what_is_two_generations_old_is_forgotten() {
        let mut window = Window::default();
        (0..100).for_each(|_| window.count(1_000_000_000));
        window.turn();
        (0..100).for_each(|_| window.count(1_000_000));
        assert!(window.quantiles(&[0.9])[0] > 900_000_000, "one generation old: it counts");
        window.turn();
        assert!(window.quantiles(&[0.9])[0] < 1_200_000);
    }
}
