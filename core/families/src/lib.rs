//! What a model is: family, layers, roles of its tensors, their names and shapes per format, memory shapes.
//! Knows configurations and names; must not know bytes on disk, engines or hosts. Families are data
//! (`data/*.toml`); a mechanism is an enum here.

mod config;
mod description;
mod detect;
mod error;
mod family;
pub mod memory;
mod metadata;
pub mod model_name;
pub mod pre_tokenizers;
mod role;
mod shapes;

pub use description::{AttentionKind, Description, Layer, Moe, Parameters, Rope, RopeScaling};
pub use detect::{detect_config, detect_gguf};
pub use error::Error;
pub use family::{Family, Mapping, Transform};
pub use metadata::OutputType;
pub use role::Role;
pub use shapes::TensorShape;
