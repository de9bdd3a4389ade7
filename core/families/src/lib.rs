//! What a model is: family, layers, roles of its tensors, their names and shapes per format, memory shapes.
//! Knows configurations and names; must not know bytes on disk, engines or hosts. Families are data
//! (`data/families/*.toml`, built from `data/parts/*.toml`); a mechanism is an enum here.

mod arrangement;
mod config;
mod description;
mod detect;
mod detect_gguf;
mod error;
mod extent;
mod family;
mod gguf_keys;
mod gguf_layers;
mod key_rule;
mod keys;
mod mapping;
pub mod memory;
mod metadata;
pub mod model_card;
mod model_id;
pub mod model_name;
pub mod pre_tokenizers;
mod quantities;
mod role;
mod rope;
mod schedule;
mod shapes;
mod tensor_rule;
mod view;

pub use description::{
    Attention, Description, FeedForward, Latent, Layer, Mixer, Modalities, Moe, NativeQuantization,
    Parameters, Reach, Recurrence, Recurrent, Rope, RopeScaling,
};
pub use detect::detect_config;
pub use detect_gguf::{detect_gguf, detect_gguf_tensors};
pub use error::Error;
pub use family::Family;
pub use mapping::{Output, Piece, Source, Stored};
pub use metadata::OutputType;
pub use role::{Role, role_of};
pub use shapes::TensorShape;
pub use tensor_rule::ValueChange;
pub use view::{Run, View};
