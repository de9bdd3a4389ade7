//! `cargo xtask score-choice FILE`: the planner chooses (a) a backend for reading and one for writing, for every model and
//! precision; (b) precision and backend below a ceiling of divergence. Judged by the speed that was lost against the best
//! measured cell, beside rules that do not look.

use super::file::{Cell, Phone, read};
use super::speed::reference;
use super::{quantile, sorted};
use anyhow::Result;
use planner::speed::{Observation, Phase, SpeedModel, Tables, Way};
use planner::{Backend, QualityEstimate};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// How much may be measured before choosing.
#[derive(Clone, Copy, PartialEq)]
enum Budget {
    /// Nothing.
    None,
    /// Two cells of one small model, for the whole phone.
    Phone,
    /// Two cells of the model that is chosen for, and nothing of any other.
    Model,
    /// Two of the cells that are chosen between, and nothing else.
    Choice,
}

impl Budget {
    fn name(self) -> &'static str {
        match self {
            Self::None => "planner, priors alone",
            Self::Phone => "planner, 2 probes for the phone",
            Self::Model => "planner, 2 probes for each model",
            Self::Choice => "planner, 2 probes for each choice",
        }
    }
}

/// A choice to be judged: cells to choose from, and the one that was chosen.
struct Question<'a> {
    phase: Phase,
    cells: Vec<&'a Cell>,
    /// Whether only backends are chosen between.
    one_precision: bool,
    text: String,
}

impl Question<'_> {
    /// A backend is chosen for both phases at once, and so are its probes; a precision is chosen for one of them.
    fn probed_phases(&self) -> &[Phase] {
        if self.one_precision { &Phase::ALL } else { std::slice::from_ref(&self.phase) }
    }

    fn regret(&self, chosen: usize) -> f64 {
        let speed = |cell: &Cell| cell.tokens_per_s(self.phase);
        let best = self.cells.iter().map(|cell| speed(cell)).fold(0.0, f64::max);
        1.0 - speed(self.cells[chosen]) / best
    }
}

pub(crate) fn run(path: &Path) -> Result<()> {
    let phone = read(path)?;
    let tables = Tables::without(&phone.device);
    println!("{}: {} cells", phone.device, phone.cells.len());
    for (class, source) in tables.sources() {
        println!("prior of {class}: {} ({})", source.device, source.provenance);
    }
    let (by_backend, by_precision) = questions(&phone);
    for (title, questions) in [
        ("(a) the backend, for every model and precision", &by_backend),
        ("(b) precision and backend below every ceiling of divergence", &by_precision),
    ] {
        println!("\n{title}: speed lost against the best measured cell");
        for budget in [Budget::None, Budget::Phone, Budget::Model, Budget::Choice] {
            let lost = planned(&phone, &tables, questions, budget);
            print(budget.name(), questions, &lost, true);
        }
        let rules: [(&str, Rule); 4] = [
            ("always GPU", always(Backend::Opencl)),
            ("always NPU", always(Backend::Hexagon)),
            ("always CPU", always(Backend::Cpu)),
            ("largest that fits, on the GPU", largest),
        ];
        for (name, rule) in rules {
            let lost: Vec<f64> =
                questions.iter().map(|question| question.regret(rule(&question.cells))).collect();
            print(name, questions, &lost, false);
        }
    }
    Ok(())
}

type Rule = fn(&[&Cell]) -> usize;

/// The smallest variant on this backend, else on the processor: what a rule does that takes bytes for speed.
fn always(backend: Backend) -> Rule {
    fn on(backend: Backend, cells: &[&Cell]) -> usize {
        let rank = |place: &usize| {
            let cell = cells[*place];
            let wanted = if cell.backend == backend { 2 } else { u8::from(cell.backend == Backend::Cpu) };
            (wanted, std::cmp::Reverse(cell.work.weights_bytes() as u64))
        };
        (0..cells.len()).max_by_key(rank).unwrap_or(0)
    }
    match backend {
        Backend::Opencl => |cells| on(Backend::Opencl, cells),
        Backend::Hexagon => |cells| on(Backend::Hexagon, cells),
        _ => |cells| on(Backend::Cpu, cells),
    }
}

/// The largest variant, on the GPU where it runs there.
fn largest(cells: &[&Cell]) -> usize {
    let rank = |place: &usize| {
        let cell = cells[*place];
        (cell.work.weights_bytes() as u64, cell.backend == Backend::Opencl, cell.backend == Backend::Cpu)
    };
    (0..cells.len()).max_by_key(rank).unwrap_or(0)
}

fn questions(phone: &Phone) -> (Vec<Question<'_>>, Vec<Question<'_>>) {
    let models: BTreeSet<&str> = phone.cells.iter().map(|cell| cell.model.as_str()).collect();
    let (mut by_backend, mut by_precision) = (Vec::new(), Vec::new());
    for model in models {
        let cells: Vec<&Cell> = phone.cells.iter().filter(|cell| cell.model == model).collect();
        let quants: BTreeSet<&str> = cells.iter().map(|cell| cell.quant.as_str()).collect();
        let divergence = |cell: &Cell| QualityEstimate::guess(&cell.precision()).kld_mean;
        for quant in quants {
            let alike: Vec<&Cell> = cells.iter().copied().filter(|cell| cell.quant == quant).collect();
            let ceiling = divergence(alike[0]);
            let below: Vec<&Cell> =
                cells.iter().copied().filter(|cell| divergence(cell) <= ceiling).collect();
            for phase in Phase::ALL {
                let text = format!("{model} {quant} {phase:?}");
                by_backend.push(Question { phase, cells: alike.clone(), one_precision: true, text });
                let text = format!("{model} {phase:?} below {ceiling:.4}");
                by_precision.push(Question { phase, cells: below.clone(), one_precision: false, text });
            }
        }
    }
    (by_backend, by_precision)
}

/// What the planner loses. Probed cells stand in its memory as measured; nothing is carried from one model or choice to another
/// but what the budget says.
fn planned(phone: &Phone, tables: &Tables, questions: &[Question<'_>], budget: Budget) -> Vec<f64> {
    let blank = SpeedModel::new(&phone.host, tables.clone());
    let of_model = |model: &str| -> SpeedModel {
        let cells: Vec<&Cell> = phone.cells.iter().filter(|cell| cell.model == model).collect();
        let quants: BTreeSet<&str> = cells.iter().map(|cell| cell.quant.as_str()).collect();
        let alike = |quant: &str| (0..cells.len()).filter(|place| cells[*place].quant == quant).collect();
        let choices: Vec<Vec<usize>> = quants.into_iter().map(alike).collect();
        probed(&blank, &cells, &choices, &Phase::ALL)
    };
    let mut models: BTreeMap<&str, SpeedModel> = BTreeMap::new();
    let of_phone = match (budget, reference(phone)) {
        (Budget::Phone, Some(reference)) => of_model(&reference),
        _ => blank.clone(),
    };
    let lost = questions.iter().map(|question| {
        let name = question.cells[0].model.as_str();
        let own;
        let speeds = match budget {
            Budget::None | Budget::Phone => &of_phone,
            Budget::Model => models.entry(name).or_insert_with(|| of_model(name)),
            Budget::Choice => {
                let all = (0..question.cells.len()).collect();
                own = probed(&blank, &question.cells, &[all], question.probed_phases());
                &own
            }
        };
        let ways: Vec<Way<'_>> = question.cells.iter().map(|cell| way(cell)).collect();
        let n_tokens = question.cells[0].n_tokens(question.phase);
        let chosen = speeds.fastest(question.phase, name, &ways, n_tokens).map_or(0, |(place, _)| place);
        question.regret(chosen)
    });
    lost.collect()
}

fn way(cell: &Cell) -> Way<'_> {
    Way { variant: &cell.quant, backend: cell.backend, work: &cell.work }
}

/// The planner after measuring the two of `cells` that it asks for, one after the other.
fn probed(blank: &SpeedModel, cells: &[&Cell], choices: &[Vec<usize>], phases: &[Phase]) -> SpeedModel {
    let ways: Vec<Way<'_>> = cells.iter().map(|cell| way(cell)).collect();
    let tokens = (cells[0].n_tokens(Phase::Decode), cells[0].n_tokens(Phase::Prefill));
    let mut speeds = blank.clone();
    for _ in 0..2 {
        let Some(place) = speeds.probe(&cells[0].model, &ways, choices, phases, tokens) else { break };
        let observations: Vec<Observation> = cells[place].observations().collect();
        speeds = speeds.observed(&observations);
    }
    speeds
}

fn print(name: &str, questions: &[Question<'_>], lost: &[f64], with_worst: bool) {
    let figures = |keep: &dyn Fn(Phase) -> bool| {
        let kept = questions.iter().zip(lost).filter(|(question, _)| keep(question.phase));
        let lost = sorted(kept.map(|(_, lost)| *lost));
        format!("{:5.1} % {:5.1} %", quantile(&lost, 0.5) * 100.0, quantile(&lost, 0.95) * 100.0)
    };
    println!(
        "  {name:34} median, 95 %: reading {}, writing {}, both {}",
        figures(&|phase| phase == Phase::Prefill),
        figures(&|phase| phase == Phase::Decode),
        figures(&|_| true)
    );
    if with_worst {
        let mut order: Vec<usize> = (0..lost.len()).collect();
        order.sort_by(|one, other| lost[*other].total_cmp(&lost[*one]));
        let worst = order
            .iter()
            .take(4)
            .map(|place| format!("{} {:.0} %", questions[*place].text, lost[*place] * 100.0));
        println!("    most: {}", worst.collect::<Vec<_>>().join(", "));
    }
}
