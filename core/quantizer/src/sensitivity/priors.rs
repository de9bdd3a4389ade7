//! What is known of sensitivities before anything is measured (`data/sensitivity.toml`), and how that is learned from
//! models of which it was.
//! Knows roles and layers; must not know weights.

use crate::recipe::order;
use families::{Role, role_of};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::LazyLock;

static TABLE: LazyLock<Priors> = LazyLock::new(|| {
    serde_json::from_str(include_str!(concat!(env!("OUT_DIR"), "/sensitivity.json")))
        .expect("the built-in table parses: a test reads it")
});

/// Places along the depth: the first layer, the second, six equal parts of the others, the last layer.
const PLACES: usize = 9;

/// Tensors of a role that a model must have for its figures to say something about the role.
const MIN_SAMPLES: usize = 3;

/// Sensitivities by role and depth. Only their ratios count.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Priors {
    /// Of a role that the table does not have.
    others: f64,
    /// Of embedding and output together, one tensor or two.
    vocabulary: f64,
    /// The output's part of that where it is a tensor of its own.
    output_share: f64,
    /// `depth` of a role that the table does not have.
    depth_others: [f64; PLACES],
    /// Of all layers' tensors of a role together; a layer has its part of it.
    kappa: BTreeMap<Role, f64>,
    /// Factors on that along the depth: first layer, second, six parts, last.
    depth: BTreeMap<Role, [f64; PLACES]>,
}

/// What priors ask of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outline {
    /// Decoder layers.
    pub n_layers: usize,
    /// Whether the embedding is the output as well.
    pub is_tied: bool,
}

impl Outline {
    /// Of a model with tensors of these names.
    pub fn of<'a>(names: impl IntoIterator<Item = &'a String>) -> Self {
        let mut outline = Self { n_layers: 0, is_tied: true };
        for name in names {
            let layers = usize::try_from(order(name).0 + 1).unwrap_or(0);
            outline.n_layers = outline.n_layers.max(layers);
            outline.is_tied &= role_of(name) != Role::Output;
        }
        outline
    }
}

/// Where one is asked that the table does not have: roles that do the same elsewhere.
fn alike(role: Role) -> &'static [Role] {
    use Role::*;
    match role {
        RoutedGate | SharedGate => &[FfnGate],
        RoutedUp | SharedUp => &[FfnUp],
        RoutedDown | SharedDown => &[FfnDown],
        LatentDown => &[AttentionK, AttentionV],
        LatentUp => &[AttentionQ, AttentionV],
        AttentionQkv => &[AttentionV],
        SsmIn => &[AttentionQkv, AttentionQ],
        SsmOut => &[AttentionOutput],
        AttentionGate => &[AttentionQ],
        _ => &[],
    }
}

/// Whether a role's course along the depth is drawn towards that of feed-forwards or of what mixes tokens.
fn is_feed_forward(role: Role) -> bool {
    use Role::*;
    matches!(
        role,
        FfnGate
            | FfnUp
            | FfnDown
            | RoutedGate
            | RoutedUp
            | RoutedDown
            | SharedGate
            | SharedUp
            | SharedDown
            | Router
    )
}

/// What was measured of one model: divergence by tensor, each harmed alike.
pub type MeasuredModel = BTreeMap<String, f64>;

/// Mean logarithms of every model along the depth, where it has any.
type Courses = [Vec<f64>; PLACES];

/// What measured models say, in logarithms, after every model's layers were brought to the same sum.
#[derive(Default)]
struct Samples {
    /// Of embedding and output together.
    vocabulary: Vec<f64>,
    /// Of the output against the embedding, where they are two.
    output: Vec<f64>,
    /// By role, of every model.
    roles: BTreeMap<Role, Vec<f64>>,
    /// By role, of every model, against the model's mean of the role.
    courses: BTreeMap<Role, Courses>,
    /// The same of feed-forwards and of the others.
    kinds: BTreeMap<bool, Courses>,
    /// The same of all.
    all: Courses,
}

impl Samples {
    fn add(&mut self, model: &MeasuredModel) {
        let n_layers = Outline::of(model.keys()).n_layers;
        let of_layers = |name: &&String| order(name).0 >= 0;
        let sum: f64 = model.keys().filter(of_layers).map(|name| model[name]).sum();
        let mut by_role: BTreeMap<Role, Vec<(i64, f64)>> = BTreeMap::new();
        for (name, harm) in model.iter().filter(|(_, harm)| **harm > 0.0) {
            let share = harm / sum * n_layers as f64;
            by_role.entry(role_of(name)).or_default().push((order(name).0, share.ln()));
        }
        let whole = |role: Role| {
            let of_role = model.iter().filter(|(name, harm)| role_of(name) == role && **harm > 0.0);
            of_role.map(|(_, harm)| harm / sum).sum::<f64>()
        };
        let (embedding, output) = (whole(Role::TokenEmbedding), whole(Role::Output));
        if embedding > 0.0 {
            self.vocabulary.push((embedding + output).ln());
            self.output.extend((output > 0.0).then(|| (output / embedding).ln()));
        }
        let mut of_kinds: BTreeMap<bool, Courses> = BTreeMap::new();
        let mut of_all = Courses::default();
        for (role, logs) in by_role {
            let logs: Vec<(i64, f64)> = logs.into_iter().filter(|(layer, _)| *layer >= 0).collect();
            if logs.len() < MIN_SAMPLES {
                continue;
            }
            let of_model = mean(logs.iter().map(|(_, log)| *log));
            self.roles.entry(role).or_default().push(of_model);
            let mut places = Courses::default();
            for (layer, log) in logs {
                places[place(layer, n_layers)].push(log - of_model);
            }
            let kind = of_kinds.entry(is_feed_forward(role)).or_default();
            let course = self.courses.entry(role).or_default();
            for at in (0..PLACES).filter(|at| !places[*at].is_empty()) {
                let log = mean(places[at].iter().copied());
                for course in [&mut *course, &mut *kind, &mut of_all] {
                    course[at].push(log);
                }
            }
        }
        let append = |to: &mut Courses, from: Courses| {
            for (to, from) in to.iter_mut().zip(from).filter(|(_, from)| !from.is_empty()) {
                to.push(mean(from));
            }
        };
        append(&mut self.all, of_all);
        for (kind, courses) in of_kinds {
            append(self.kinds.entry(kind).or_default(), courses);
        }
    }
}

impl Priors {
    /// Those that come with this library.
    pub fn built_in() -> &'static Self {
        &TABLE
    }

    /// Learns from measured models, after every model's layers were brought to the same sum.
    ///
    /// Logarithms of models are averaged and half of the variance between models is added: too few bytes where harm is
    /// great cost more than too many where it is small, and what is least is the expected harm. A role's course along the
    /// depth is drawn by the weight of one model towards that of feed-forwards or of the others, and this one towards that
    /// of all roles, and this towards none.
    pub fn learn<'a>(models: impl IntoIterator<Item = &'a MeasuredModel>) -> Self {
        let mut samples = Samples::default();
        models.into_iter().for_each(|model| samples.add(model));
        let several: Vec<f64> = samples.roles.values().filter_map(|logs| variance(logs)).collect();
        let spread = mean(several);
        let expected = |logs: &[f64], spread: f64| {
            (mean(logs.iter().copied()) + spread / 2.0 * (1.0 + 1.0 / logs.len() as f64)).exp()
        };
        let kappa: BTreeMap<Role, f64> =
            samples.roles.iter().map(|(role, logs)| (*role, expected(logs, spread))).collect();
        let others = mean(kappa.values().map(|kappa| kappa.ln())).exp();
        let vocabulary = match samples.vocabulary.is_empty() {
            true => others,
            false => expected(&samples.vocabulary, variance(&samples.vocabulary).unwrap_or(spread)),
        };
        let ratio = mean(samples.output.iter().copied()).exp();
        let of_all = drawn(&samples.all, [0.0; PLACES]);
        let of_kinds: BTreeMap<bool, [f64; PLACES]> =
            samples.kinds.iter().map(|(kind, courses)| (*kind, drawn(courses, of_all))).collect();
        let depth = samples.courses.iter().map(|(role, courses)| {
            let towards = of_kinds.get(&is_feed_forward(*role)).copied().unwrap_or(of_all);
            (*role, drawn(courses, towards).map(f64::exp))
        });
        Self {
            others,
            vocabulary,
            output_share: ratio / (1.0 + ratio),
            depth: depth.collect(),
            depth_others: of_all.map(f64::exp),
            kappa,
        }
    }

    /// Sensitivity of `tensor` in a model of this outline.
    pub fn of(&self, tensor: &str, outline: Outline) -> f64 {
        let role = role_of(tensor);
        match role {
            Role::TokenEmbedding if outline.is_tied => return self.vocabulary,
            Role::TokenEmbedding => return self.vocabulary * (1.0 - self.output_share),
            Role::Output => return self.vocabulary * self.output_share,
            _ => {}
        }
        let roles = match self.kappa.contains_key(&role) {
            true => &[role][..],
            false => alike(role),
        };
        let known: Vec<f64> = roles.iter().filter_map(|role| self.kappa.get(role)).map(|k| k.ln()).collect();
        let kappa = if known.is_empty() { self.others } else { mean(known).exp() };
        let (layer, _) = order(tensor);
        if layer < 0 || outline.n_layers == 0 {
            return kappa;
        }
        let at = place(layer, outline.n_layers);
        let factors: Vec<f64> =
            roles.iter().filter_map(|role| self.depth.get(role)).map(|factors| factors[at].ln()).collect();
        let factor = if factors.is_empty() { self.depth_others[at] } else { mean(factors).exp() };
        kappa * factor / outline.n_layers as f64
    }
}

/// Means along the depth, drawn towards `towards` by the weight of one model.
fn drawn(courses: &Courses, towards: [f64; PLACES]) -> [f64; PLACES] {
    std::array::from_fn(|at| {
        let logs = &courses[at];
        (logs.iter().sum::<f64>() + towards[at]) / (logs.len() as f64 + 1.0)
    })
}

/// Of a sample of two or more.
fn variance(logs: &[f64]) -> Option<f64> {
    let middle = mean(logs.iter().copied());
    let squares: f64 = logs.iter().map(|log| (log - middle).powi(2)).sum();
    (logs.len() > 1).then(|| squares / (logs.len() as f64 - 1.0))
}

/// 0 of nothing.
fn mean(values: impl IntoIterator<Item = f64>) -> f64 {
    let (sum, n) = values.into_iter().fold((0.0, 0.0), |(sum, n), value| (sum + value, n + 1.0));
    sum / f64::max(n, 1.0)
}

fn place(layer: i64, n_layers: usize) -> usize {
    let (layer, n) = (usize::try_from(layer).unwrap_or(0), n_layers.max(1));
    match layer {
        0 | 1 => layer,
        _ if layer + 1 >= n => PLACES - 1,
        _ => 2 + (layer - 2) * 6 / (n - 3).max(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_role_and_layer_has_a_prior() {
        for name in ["token_embd.weight", "blk.0.attn_v.weight", "blk.11.ffn_down.weight", "strange.weight"] {
            let kappa = Priors::built_in().of(name, Outline { n_layers: 12, is_tied: true });
            assert!(kappa > 0.0 && kappa.is_finite(), "{name}: {kappa}");
        }
        assert!((0..40).all(|layer| (2..=40).all(|n| place(layer, n) < PLACES)));
    }

    #[test]
    fn what_was_learned_is_told_again() {
        let harm = |layer: usize, name: &str| match name {
            "ffn_down" => 0.03 * (1.0 + layer as f64 / 20.0),
            _ => 0.002,
        };
        let model = |n_layers: usize, scale: f64| -> MeasuredModel {
            let names = (0..n_layers).flat_map(|layer| [(layer, "ffn_down"), (layer, "attn_k")]);
            names
                .map(|(layer, name)| (format!("blk.{layer}.{name}.weight"), scale * harm(layer, name)))
                .collect()
        };
        let priors = Priors::learn([&model(20, 1.0), &model(30, 5.0)]);
        let of = |name: &str| priors.of(name, Outline { n_layers: 24, is_tied: false });
        let ratio = of("blk.10.ffn_down.weight") / of("blk.10.attn_k.weight");
        assert!((15.0..30.0).contains(&ratio), "{ratio}");
        assert!(of("blk.23.ffn_down.weight") > of("blk.2.ffn_down.weight"));
        // An unseen role is as one that does the same elsewhere.
        assert_eq!(of("blk.3.ffn_down_exps.weight"), of("blk.3.ffn_down.weight"));
    }
}
