//! The room of the nodes in plain numbers, because it is computed for each guest and each node that fits it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use super::work;
use crate::fit::bits::Bits;
use crate::fit::fleet::NodeIndex;
use crate::kubevirt::cluster::Cluster;
use crate::kubevirt::room::{Amounts, PodNeed, Shortage};

/// Amounts of the resources that guests request, in the order of [`Space::resources`].
pub(super) type AskedAmounts = Vec<i64>;

/// The index of a size, shared by all guests with equal requests.
pub(super) type SizeIndex = usize;

/// The requests of guests of one size.
#[derive(Debug)]
struct GuestSize<'w> {
    need: &'w PodNeed,
    asked: AskedAmounts,
}

/// The amounts free on the nodes, including the effect of moved guests.
#[derive(Clone, Debug)]
pub(super) struct Space<'w> {
    cluster: &'w Cluster,
    resources: Rc<Vec<&'w str>>,
    sizes: Rc<Vec<GuestSize<'w>>>,
    /// By [`PodNeed::yields_to`], node and resource, the amount free for such a pod; `i64::MAX` if not known. The first
    /// entry is the amount free without preemption.
    free: BTreeMap<i64, Rc<Vec<i64>>>,
    /// By size, the nodes with too little room; computed at first use.
    full: RefCell<Vec<Option<Rc<Bits>>>>,
    /// By size, the nodes with too little room without preemption; computed at first use.
    by_preemption: RefCell<Vec<Option<Rc<Bits>>>>,
}

impl<'w> Space<'w> {
    /// Returns the room of a cluster's nodes, and the size of each guest with known requests.
    pub(super) fn of(cluster: &'w Cluster, needs: &[Option<&'w PodNeed>]) -> (Self, Vec<Option<SizeIndex>>) {
        let named: BTreeSet<&str> =
            needs.iter().flatten().flat_map(|need| need.amounts.keys()).map(String::as_str).collect();
        let resources: Vec<&str> = named.into_iter().collect();
        let mut sizes: Vec<GuestSize<'w>> = Vec::new();
        let mut known: HashMap<(i64, bool, AskedAmounts), SizeIndex> = HashMap::new();
        let mut size = |need: &'w PodNeed| {
            let asked: AskedAmounts =
                resources.iter().map(|resource| need.amounts.get(*resource).copied().unwrap_or(0)).collect();
            *known.entry((need.priority, need.never_preempts, asked.clone())).or_insert_with(|| {
                sizes.push(GuestSize { need, asked });
                sizes.len() - 1
            })
        };
        let of_guests = needs.iter().map(|need| need.map(&mut size)).collect();
        let full = RefCell::new(vec![None; sizes.len()]);
        let by_preemption = full.clone();
        let of_all = |priority: i64| {
            let of_node = |node| {
                let space = cluster.room.of_node(cluster.fleet.name(node), priority);
                let free = move |resource: &&str| space.as_ref().map_or(i64::MAX, |it| it.free(resource));
                resources.iter().map(free)
            };
            Rc::new((0..cluster.fleet.len()).flat_map(of_node).collect())
        };
        let priorities: BTreeSet<i64> = sizes.iter().map(|size| size.need.yields_to()).chain([i64::MIN]).collect();
        let free = priorities.into_iter().map(|priority| (priority, of_all(priority))).collect();
        let (resources, sizes) = (Rc::new(resources), Rc::new(sizes));
        (Self { cluster, resources, sizes, free, full, by_preemption }, of_guests)
    }

    /// Returns the total requests of guests of these sizes.
    pub(super) fn sum(&self, sizes: impl IntoIterator<Item = SizeIndex>) -> AskedAmounts {
        let mut sum = vec![0_i64; self.resources.len()];
        for size in sizes {
            sum.iter_mut().zip(&self.sizes[size].asked).for_each(|(sum, asked)| *sum = sum.saturating_add(*asked));
        }
        sum
    }

    /// Returns the number of resources.
    pub(super) fn width(&self) -> usize {
        self.resources.len()
    }

    /// Returns the requests of guests of a size.
    pub(super) fn asked(&self, size: SizeIndex) -> &[i64] {
        &self.sizes[size].asked
    }

    /// Returns the priority of guests of a size.
    pub(super) fn priority(&self, size: SizeIndex) -> i64 {
        self.sizes[size].need.priority
    }

    /// Returns the priority from which pods keep their room from guests of a size.
    pub(super) fn yields_to(&self, size: SizeIndex) -> i64 {
        self.sizes[size].need.yields_to()
    }

    /// Returns, by node and resource, the amount free for guests of this size; `i64::MAX` if not known.
    pub(super) fn free(&self, size: SizeIndex) -> &[i64] {
        self.free.get(&self.yields_to(size)).map_or(&[], |free| free.as_slice())
    }

    /// Returns the nodes that have no room for a guest of this size without preemption.
    pub(super) fn by_preemption(&self, size: SizeIndex) -> Rc<Bits> {
        if let Some(known) = &self.by_preemption.borrow()[size] {
            return Rc::clone(known);
        }
        let mut out = Bits::none(self.cluster.fleet.len());
        if let Some(free) = self.free.get(&i64::MIN).filter(|_| self.yields_to(size) != i64::MIN) {
            work::count(out.len());
            let asked = self.asked(size);
            (0..out.len()).filter(|&node| self.lacks_of(free, asked, node, &[])).for_each(|node| out.insert(node));
        }
        let out = Rc::new(out);
        self.by_preemption.borrow_mut()[size] = Some(Rc::clone(&out));
        out
    }

    fn lacks_of(&self, free: &[i64], asked: &[i64], node: NodeIndex, others: &[i64]) -> bool {
        let free = &free[node * self.resources.len()..];
        asked.iter().zip(free).enumerate().any(|(at, (&asked, &free))| {
            let come = others.get(at).copied().unwrap_or(0);
            asked > 0 && free != i64::MAX && asked > free.saturating_sub(come)
        })
    }

    /// Whether a node lacks room for a guest of a size in addition to others with these total requests.
    pub(super) fn lacks(&self, size: SizeIndex, node: NodeIndex, others: &[i64]) -> bool {
        self.lacks_of(self.free(size), self.asked(size), node, others)
    }

    /// Returns the nodes of `nodes` without room for all guests of these sizes together.
    pub(super) fn crowded(&self, nodes: &Bits, sizes: &[SizeIndex]) -> Vec<NodeIndex> {
        let Some(lowest) = sizes.iter().copied().min_by_key(|&size| self.yields_to(size)) else { return Vec::new() };
        let (free, sum) = (self.free(lowest), self.sum(sizes.iter().copied()));
        nodes.iter().filter(|&node| self.lacks_of(free, &sum, node, &[])).collect()
    }

    /// Returns the nodes without room for a guest of a size.
    pub(super) fn full(&self, size: SizeIndex) -> Rc<Bits> {
        if let Some(known) = &self.full.borrow()[size] {
            return Rc::clone(known);
        }
        let mut full = Bits::none(self.cluster.fleet.len());
        (0..full.len()).filter(|&node| self.lacks(size, node, &[])).for_each(|node| full.insert(node));
        let full = Rc::new(full);
        self.full.borrow_mut()[size] = Some(Rc::clone(&full));
        full
    }

    /// Moves a guest of a size, or removes it. The room for pods with a higher priority does not change: they preempt
    /// it in any case.
    pub(super) fn put(&mut self, size: SizeIndex, from: Option<NodeIndex>, to: Option<NodeIndex>) {
        let (len, priority) = (self.resources.len(), self.priority(size));
        self.by_preemption.get_mut().fill(None);
        for (node, sign) in from.map(|node| (node, 1)).into_iter().chain(to.map(|node| (node, -1))) {
            for free in self.free.range_mut(..=priority).map(|(_, free)| Rc::make_mut(free)) {
                let free = free[node * len..].iter_mut().zip(&self.sizes[size].asked);
                for (free, asked) in free.filter(|(free, _)| **free != i64::MAX) {
                    *free = free.saturating_add(sign * asked);
                }
            }
            for other in 0..self.sizes.len() {
                let Some(mut full) = self.full.get_mut()[other].take() else { continue };
                let lacks = self.lacks(other, node, &[]);
                if full.contains(node) != lacks {
                    let full = Rc::make_mut(&mut full);
                    if lacks { full.insert(node) } else { full.remove(node) }
                }
                self.full.get_mut()[other] = Some(full);
            }
        }
    }

    /// Returns the resource that a node lacks for a guest of a size before any guest moved; `None` if it has enough.
    pub(super) fn shortage(&self, size: SizeIndex, node: NodeIndex) -> Option<Shortage> {
        let need = self.sizes[size].need;
        self.cluster.room.of_node(self.cluster.fleet.name(node), need.yields_to())?.shortage(need, &Amounts::new())
    }
}
