//! The topology domains of a cluster's nodes.

use std::collections::HashMap;
use std::rc::Rc;

use crate::fit::bits::Bits;
use crate::fit::fleet::{Fleet, NodeIndex};
use crate::fit::label;

/// The domains of one topology key.
#[derive(Debug)]
pub(super) struct Domains {
    /// By node, the nodes with the same value of the key; `None` for a node without it.
    of_nodes: Vec<Option<Rc<Bits>>>,
}

impl Domains {
    pub(super) fn of(fleet: &Fleet, key: &str) -> Self {
        let mut known: HashMap<&str, Rc<Bits>> = HashMap::new();
        let of_node = |node: NodeIndex| match fleet.label(node, key) {
            Some(value) => Some(Rc::clone(known.entry(value).or_insert_with(|| Rc::new(fleet.bearing(key, value))))),
            // A dump may be reduced to CPU labels.
            None if key == label::HOSTNAME => {
                let mut alone = Bits::none(fleet.len());
                alone.insert(node);
                Some(Rc::new(alone))
            }
            None => None,
        };
        Self { of_nodes: (0..fleet.len()).map(of_node).collect() }
    }

    /// Returns the nodes of the domain of a node; `None` if it is in none.
    pub(super) fn at(&self, node: NodeIndex) -> Option<Rc<Bits>> {
        self.of_nodes[node].clone()
    }
}
