//! Which experts stay in memory.
//!
//! Owns: [`Residency`], the choice of what to read and what to let go. May know: bytes of experts. Must not know: files,
//! addresses, how anything is read.

use serde::Serialize;

/// Passes over the model after which a use counts half.
const HALF_LIFE_PASSES: f64 = 64.0;

/// What paging has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PagingStats {
    /// Bytes of experts that stay in memory at most.
    pub cap_bytes: u64,
    /// Bytes of all experts.
    pub expert_bytes: u64,
    /// Bytes of experts that are held now.
    pub held_bytes: u64,
    /// Experts that computations wanted, counted once for each layer and batch.
    pub wanted: u64,
    /// Of these, those that were held.
    pub held: u64,
    /// Bytes that were read for the others.
    pub read_bytes: u64,
    /// Bytes that were let go.
    pub let_go_bytes: u64,
}

/// An expert of a layer: place of the layer among those that have experts, number of the expert.
pub(crate) type Place = (usize, usize);

/// What to do before a layer computes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Change {
    /// Experts to let go, first.
    pub(crate) let_go: Vec<Place>,
    /// Experts of the layer to read, then.
    pub(crate) read: Vec<usize>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Expert {
    /// Uses, each halved for every [`HALF_LIFE_PASSES`] since; as of `used_at`.
    score: f64,
    used_at: u64,
    held: bool,
}

#[derive(Debug)]
struct Layer {
    bytes: u64,
    experts: Vec<Expert>,
}

/// Experts of all layers, and which of them are held.
///
/// Those with the fewest recent uses go first: plain "longest unused" loses experts that are chosen often to a run of rare
/// ones.
#[derive(Debug)]
pub(crate) struct Residency {
    layers: Vec<Layer>,
    last_layer: usize,
    pass: u64,
    stats: PagingStats,
}

impl Residency {
    /// Nothing is held. Each layer has the bytes of one of its experts and their number.
    pub(crate) fn new(cap_bytes: u64, layers: impl IntoIterator<Item = (u64, usize)>) -> Self {
        let layer = |(bytes, n_experts)| Layer { bytes, experts: vec![Expert::default(); n_experts] };
        let layers: Vec<Layer> = layers.into_iter().map(layer).collect();
        let bytes_of = |layer: &Layer| layer.bytes.saturating_mul(layer.experts.len() as u64);
        let expert_bytes = layers.iter().map(bytes_of).fold(0, u64::saturating_add);
        let stats = PagingStats { cap_bytes, expert_bytes, ..PagingStats::default() };
        Self { layers, last_layer: usize::MAX, pass: 0, stats }
    }

    pub(crate) fn stats(&self) -> PagingStats {
        self.stats
    }

    /// Bytes of all experts of the layer with most of them: a batch may want all at once.
    pub(crate) fn widest_layer_bytes(&self) -> u64 {
        let bytes = self.layers.iter().map(|layer| layer.bytes * layer.experts.len() as u64);
        bytes.max().unwrap_or(0)
    }

    /// The layer is about to compute with these experts, each named once. What they need beyond the cap is held until the
    /// next layer computes.
    pub(crate) fn want(&mut self, layer: usize, experts: &[usize]) -> Change {
        if layer <= self.last_layer {
            self.pass += 1;
        }
        self.last_layer = layer;
        let mut change = Change::default();
        let Some(wanted) = self.layers.get_mut(layer) else { return change };
        for number in experts {
            let Some(expert) = wanted.experts.get_mut(*number) else { continue };
            expert.score = expert.score_at(self.pass) + 1.0;
            expert.used_at = self.pass;
            self.stats.wanted += 1;
            if expert.held {
                self.stats.held += 1;
            } else {
                expert.held = true;
                change.read.push(*number);
            }
        }
        let read_bytes = wanted.bytes * change.read.len() as u64;
        self.stats.read_bytes += read_bytes;
        self.stats.held_bytes += read_bytes;
        let excess = self.stats.held_bytes.saturating_sub(self.stats.cap_bytes);
        if excess > 0 {
            change.let_go = self.least_used(layer, experts, excess);
            for (layer, number) in &change.let_go {
                self.layers[*layer].experts[*number].held = false;
            }
            let let_go: u64 = change.let_go.iter().map(|(layer, _)| self.layers[*layer].bytes).sum();
            self.stats.let_go_bytes += let_go;
            self.stats.held_bytes -= let_go;
        }
        change
    }

    /// Held experts with the lowest scores that have so many bytes together, or all of them; `kept` of the layer are not among
    /// them.
    fn least_used(&self, layer: usize, kept: &[usize], bytes: u64) -> Vec<Place> {
        let mut held = Vec::new();
        for (place, layer) in self.layers.iter().enumerate() {
            let experts = layer.experts.iter().enumerate().filter(|(_, expert)| expert.held);
            held.extend(experts.map(|(number, expert)| (expert.score_at(self.pass), (place, number))));
        }
        held.retain(|(_, place)| place.0 != layer || !kept.contains(&place.1));
        let by_score = |a: &(f64, Place), b: &(f64, Place)| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1));
        let smallest = self.layers.iter().map(|layer| layer.bytes).min().unwrap_or(1).max(1);
        let most = usize::try_from(bytes.div_ceil(smallest)).unwrap_or(usize::MAX);
        if most < held.len() {
            held.select_nth_unstable_by(most, by_score);
            held.truncate(most);
        }
        held.sort_unstable_by(by_score);
        let mut so_far = 0;
        let enough = held.iter().take_while(|(_, place)| {
            let is_needed = so_far < bytes;
            so_far += self.layers[place.0].bytes;
            is_needed
        });
        enough.map(|(_, place)| *place).collect()
    }
}

impl Expert {
    fn score_at(&self, pass: u64) -> f64 {
        let passes = pass.saturating_sub(self.used_at) as f64;
        self.score * (-passes / HALF_LIFE_PASSES).exp2()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_layers(cap: u64) -> Residency {
        Residency::new(cap, [(10, 4), (10, 4)])
    }

    #[test]
    fn what_is_held_is_not_read_again() {
        let mut residency = two_layers(1000);
        assert_eq!(residency.want(0, &[1, 2]).read, [1, 2]);
        assert_eq!(residency.want(1, &[1]).read, [1]);
        assert_eq!(residency.want(0, &[2, 3]).read, [3]);
        let stats = residency.stats();
        assert_eq!((stats.wanted, stats.held, stats.read_bytes, stats.held_bytes), (5, 1, 40, 40));
        assert_eq!((stats.expert_bytes, stats.cap_bytes, stats.let_go_bytes), (80, 1000, 0));
    }

    #[test]
    fn beyond_the_cap_the_least_used_goes() {
        let mut residency = two_layers(40);
        for _ in 0..3 {
            residency.want(0, &[0]);
            residency.want(1, &[0]);
        }
        residency.want(0, &[1]);
        assert_eq!(residency.want(1, &[1]), Change { let_go: vec![], read: vec![1] });
        // (0, 1) was used once, as was (1, 1); of two alike the first goes.
        assert_eq!(residency.want(1, &[2]), Change { let_go: vec![(0, 1)], read: vec![2] });
        assert_eq!(residency.stats().held_bytes, 40);
    }

    #[test]
    fn old_uses_count_less() {
        let mut residency = Residency::new(20, [(10, 3)]);
        for _ in 0..4 {
            residency.want(0, &[0]);
        }
        for _ in 0..400 {
            residency.want(0, &[1]);
        }
        assert_eq!(residency.want(0, &[2]).let_go, [(0, 0)]);
    }

    #[test]
    fn what_one_layer_wants_is_held_whatever_the_cap() {
        let mut residency = two_layers(20);
        assert_eq!(residency.want(0, &[0, 1, 2, 3]), Change { let_go: vec![], read: vec![0, 1, 2, 3] });
        assert_eq!(residency.stats().held_bytes, 40);
        let change = residency.want(1, &[0]);
        assert_eq!(change.let_go.len(), 3);
        assert_eq!(residency.stats().held_bytes, 20);
        assert_eq!(residency.widest_layer_bytes(), 40);
    }

    #[test]
    fn numbers_that_do_not_exist_are_passed_over() {
        let mut residency = two_layers(20);
        assert_eq!(residency.want(7, &[0]), Change::default());
        assert_eq!(residency.want(0, &[9]), Change::default());
        assert_eq!(residency.stats().held_bytes, 0);
    }
}
