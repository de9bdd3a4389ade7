//! A plan as data.
//!
//! Owns: what of a plan has fields of its own; the whole stands beside it as JSON. Must not know: how it was made.

use crate::arguments::text_of;
use crate::error::Failure;

/// What a plan chose, and why.
#[derive(Clone, Debug, uniffi::Record)]
pub struct Plan {
    /// What to load and how; none when nothing fits, which is no error.
    pub chosen: Option<Choice>,
    /// Why, or why nothing was chosen: a sentence each.
    pub why: Vec<Reason>,
    /// Why each other variant was not chosen.
    pub rejected: Vec<Rejection>,
    /// Everything, as C's lp_runtime_plan tells it.
    pub json: String,
}

/// What to load and how.
#[derive(Clone, Debug, uniffi::Record)]
pub struct Choice {
    /// Id of the variant.
    pub id: String,
    /// Its precision, e.g. "Q4_K_M".
    pub precision: String,
    /// Tokens of text that a session holds.
    pub context_tokens: u64,
    /// Threads that write.
    pub n_threads: u32,
    /// Memory that it takes of the host, in bytes.
    pub memory_bytes: u64,
    /// Slowest speed that is expected when writing, in tokens per second.
    pub least_tokens_per_s: f64,
    /// Fastest.
    pub most_tokens_per_s: f64,
}

/// A sentence of the explanation.
#[derive(Clone, Debug, uniffi::Record)]
pub struct Reason {
    /// Stable code.
    pub code: String,
    /// Plain text, in English.
    pub text: String,
}

/// Why a variant was not chosen.
#[derive(Clone, Debug, uniffi::Record)]
pub struct Rejection {
    /// Id of the variant.
    pub id: String,
    /// Stable code.
    pub code: String,
    /// What would help, or what was better.
    pub fix: String,
}

impl Plan {
    pub(crate) fn of(plan: &llama_pajamas::planner::Plan) -> Result<Self, Failure> {
        let reason = |reason: &llama_pajamas::planner::Reason| {
            Ok(Reason { code: code(&reason.code)?, text: reason.text.clone() })
        };
        let mut why = plan.why.iter().map(reason).collect::<Result<Vec<_>, Failure>>()?;
        why.extend(plan.refusal().map(|text| Reason { code: "REFUSED".into(), text }));
        let rejected = plan.rejected.iter().map(|rejection| {
            let (id, fix) = (rejection.id.clone(), rejection.fix.clone());
            Ok(Rejection { id, code: code(&rejection.code)?, fix })
        });
        Ok(Self {
            chosen: plan.chosen.as_ref().map(|choice| Choice {
                id: choice.id.clone(),
                precision: choice.precision.clone(),
                context_tokens: choice.context_tokens,
                n_threads: choice.n_threads,
                memory_bytes: choice.memory.total_bytes(),
                least_tokens_per_s: choice.speed.decode_tokens_per_s[0],
                most_tokens_per_s: choice.speed.decode_tokens_per_s[1],
            }),
            why,
            rejected: rejected.collect::<Result<_, Failure>>()?,
            json: text_of(plan)?,
        })
    }
}

/// A code as JSON has it.
fn code(code: &impl serde::Serialize) -> Result<String, Failure> {
    Ok(text_of(code)?.trim_matches('"').to_owned())
}
