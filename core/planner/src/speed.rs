//! How fast a variant writes and reads on a host, as ranges: what a token costs ([`Work`]), what a kind of processor
//! charges for it ([`Tables`]), what was measured here ([`Calibration`]), and the prediction from all three.
//! Owns the equations of time and their fit; must not know quality, budgets or manifests.

mod calibration;
mod classes;
mod configuration;
mod contest;
mod equation;
mod estimate;
mod linear;
mod model;
mod parameter;
mod work;

pub use calibration::{Calibration, Observation, calibrate};
pub use classes::{CostClass, Source, Tables};
pub(crate) use configuration::{Batches, Configuration, USUAL_PROMPT_TOKENS};
pub use contest::Way;
pub use estimate::{Prediction, SpeedEstimate};
pub use model::SpeedModel;
pub use parameter::{Belief, Parameter, Phase};
pub use work::{Part, Weights, Work};
