//! What a model is: family, layers, roles of its tensors, their names and shapes per format, memory shapes.
//! Knows configurations and names; must not know bytes on disk, engines or hosts. Families are data
//! (`data/families/*.toml`, built from `data/parts/*.toml`); a mechanism is an enum here.

mod config;
mod description;
mod detect;
mod error;
mod extent;
mod family;
mod keys;
pub mod memory;
pub mod mlx;
pub mod model_name;
pub mod pre_tokenizers;
pub mod projector;
mod role;
mod tables;
mod tensors;
pub mod tokenizer;

pub use config::{parse_config, stated_vocabulary};
pub use description::{
    Attention, Description, FeedForward, Form, Latent, Layer, Mixer, Modalities, Moe, NativeQuantization,
    Parameters, Pooling, Reach, Recurrence, Recurrent, Rope, RopeScaling,
};
pub use detect::gguf::{detect_gguf, detect_gguf_tensors, stated_pooling};
pub use detect::{detect_config, without_predictions};
pub use error::Error;
pub use family::{ByteFallback, Family, Reranker};
pub use keys::metadata::OutputType;
pub use role::{Role, role_of};
pub use tensors::mapping::{Output, Piece, Source, Stored};
pub use tensors::rule::Floats;
pub use tensors::shapes::TensorShape;
pub use tensors::value::ValueChange;
pub use tensors::view::{Run, View};
