//! What a key is called in the store: a hash of fixed length, so that any bytes can be a key in any store, and seeded with the
//! epoch, so that after a loss nothing that was stored before can be found.

use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128_with_seed};

/// The hash of a key in an epoch, with the bytes of the namespace folded in.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Name(u128);

impl Name {
    /// The name of `key`.
    pub(crate) fn of(namespace: &str, epoch: u64, key: &[u8]) -> Name {
        Name(xxh3_128_with_seed(key, xxh3_64_with_seed(namespace.as_bytes(), epoch)))
    }

    /// As the store sees it. No byte of a caller is in it, so it holds no space, no line break and no `{`.
    pub(crate) fn stored(self, namespace: &str) -> String {
        format!("{namespace}:{:032x}", self.0)
    }
}

/// Which of `nodes` a name belongs to: the one with the highest hash of both. When a node goes, only its names move.
pub(crate) fn rendezvous<'a>(stored: &str, nodes: impl Iterator<Item = &'a str>) -> Option<usize> {
    let score = |node: &str| xxh3_64_with_seed(stored.as_bytes(), xxh3_64_with_seed(node.as_bytes(), 0));
    nodes.enumerate().max_by_key(|(_, node)| score(node)).map(|(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_epoch_or_namespace_is_another_name() {
        let name = |namespace, epoch| Name::of(namespace, epoch, b"k").stored("x");
        assert_eq!(name("a", 1), name("a", 1));
        assert_ne!(name("a", 1), name("a", 2));
        assert_ne!(name("a", 1), name("b", 1));
    }

    #[test]
    fn when_a_node_goes_only_its_names_move() {
        let (three, two) = (["a:1", "b:1", "c:1"], ["a:1", "b:1"]);
        let mut counts = [0; 3];
        for key in 0..3000u32 {
            let stored = Name::of("x", 1, &key.to_le_bytes()).stored("x");
            let before = rendezvous(&stored, three.into_iter()).unwrap();
            counts[before] += 1;
            if before < 2 {
                assert_eq!(rendezvous(&stored, two.into_iter()), Some(before));
            }
        }
        assert!(counts.iter().all(|count| (850..1150).contains(count)), "{counts:?}");
    }
}
