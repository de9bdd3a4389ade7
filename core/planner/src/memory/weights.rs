//! Which buffers a model's weights lie in: mapped from the file, rearranged for the processor, on a device.
//! Knows how the engine splits layers; must not know caches.

use super::shapes::place;
use families::{Description, Role, role_of};
use formats::gguf::{GgmlType, TensorSpec};
use hardware::Host;

/// Where tensors begin in a buffer, in bytes.
const ALIGNMENT_BYTES: u64 = 32;

/// What is known of a model's weights.
#[derive(Debug, Clone, Copy)]
pub struct Weights<'a> {
    /// Bytes of all of them.
    pub bytes: u64,
    /// Each of them; empty where only the sum is known.
    pub tensors: &'a [TensorSpec],
}

/// Which weights the engine rearranges for a processor.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Repack {
    /// None.
    #[default]
    Never,
    /// As AVX2 computes fastest.
    Avx2,
    /// As AVX-512 computes fastest.
    Avx512,
    /// As ARM's dot products compute fastest.
    DotProduct,
}

impl Repack {
    /// What the engine does on `host`.
    pub fn of(host: &Host) -> Self {
        let has = |name: &str| host.cpu.isa.iter().any(|isa| isa == name);
        let avx512 = ["avx512f", "avx512bw", "avx512vl", "avx512_vnni"];
        if avx512.into_iter().all(has) {
            Self::Avx512
        } else if ["avx2", "fma", "f16c"].into_iter().all(has) {
            Self::Avx2
        } else if has("asimddp") || has("dotprod") {
            Self::DotProduct
        } else {
            Self::Never
        }
    }

    /// Rows that are rearranged together, for the types that are (`ggml-cpu/repack.cpp`).
    fn rows(self, ty: GgmlType) -> Option<u64> {
        use GgmlType as T;
        match (self, ty) {
            (Self::Avx2 | Self::Avx512, T::Q4_0 | T::Q4_K | T::IQ4_NL | T::MXFP4) => Some(8),
            (Self::Avx512, T::Q2_K) => Some(8),
            (Self::DotProduct, T::Q4_0 | T::Q8_0 | T::IQ4_NL | T::MXFP4) => Some(4),
            (Self::DotProduct, T::Q4_K | T::Q5_K | T::Q6_K) => Some(8),
            _ => None,
        }
    }

    fn takes(self, piece: &Piece) -> bool {
        piece.multiplied && self.rows(piece.ty).is_some_and(|together| piece.rows.is_multiple_of(together))
    }
}

/// Whether a tensor is one that the processor multiplies with; stacked matrices where experts are chosen among them.
fn multiplied(tensor: &TensorSpec, role: Role) -> bool {
    let n_dims = tensor.dims.iter().rposition(|dim| *dim > 1).map_or(1, |last| last + 1);
    match role {
        Role::TokenEmbedding | Role::PositionEmbedding | Role::Convolution | Role::Norm | Role::Bias => false,
        role if role.is_routed_expert() => n_dims == 3,
        _ => n_dims == 2 && !tensor.name.ends_with("attn_rel_b.weight"),
    }
}

/// Where the engine wants a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Home {
    /// In host memory, with what tokens are looked up in.
    Input,
    /// With a layer; the output counts as the one after the last.
    Layer(u64),
    /// With the output, a copy of the embedding's weights, which counts where it lies elsewhere.
    Copy(u64),
    /// The same, which counts wherever it lies.
    SecondCopy(u64),
}

/// What counts of a tensor.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece {
    home: Home,
    bytes: u64,
    ty: GgmlType,
    rows: u64,
    multiplied: bool,
}

/// Bytes of weights by buffer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Placed {
    /// As they lie in the file, in host memory.
    pub(super) plain: u64,
    /// Rearranged, in host memory.
    pub(super) repacked: u64,
    /// On the device.
    pub(super) device: u64,
    /// The largest one on the device.
    pub(super) largest_on_device: u64,
}

/// Where the output counts as a layer, the device's layers are the last `gpu_layers`.
pub(super) fn on_device(layer: u64, n_layers: u64, gpu_layers: u64) -> bool {
    layer.saturating_add(gpu_layers) > n_layers
}

/// What counts of each tensor.
pub(super) fn pieces(description: &Description, tensors: &[TensorSpec]) -> Vec<Piece> {
    let n_layers = u64::from(description.n_layers);
    let piece = |tensor: &TensorSpec, role: Role, home: Home| Piece {
        home,
        bytes: tensor_bytes(tensor),
        ty: tensor.ty,
        rows: tensor.dims.get(1).copied().unwrap_or(1),
        multiplied: multiplied(tensor, role),
    };
    let mut pieces = Vec::with_capacity(tensors.len() + 1);
    for tensor in tensors {
        let role = role_of(&tensor.name);
        let stack = tensor.name.strip_prefix("enc.").or_else(|| tensor.name.strip_prefix("dec."));
        let home = match place(stack.unwrap_or(&tensor.name)) {
            // Layers that predict further tokens are not loaded.
            Some((layer, _)) if layer as u64 >= n_layers && stack.is_none() => continue,
            Some((layer, _)) => Home::Layer(layer as u64),
            None => match role {
                Role::TokenEmbedding | Role::PositionEmbedding => Home::Input,
                _ if tensor.name.starts_with("token_") && role != Role::Norm => Home::Input,
                Role::RopeFactors => Home::Layer(0),
                _ => Home::Layer(n_layers),
            },
        };
        pieces.push(piece(tensor, role, home));
    }
    // An output that shares the embedding's weights is a copy of them where it lies elsewhere.
    let has_output = tensors.iter().any(|tensor| tensor.name == "output.weight");
    let embedding = tensors.iter().find(|tensor| tensor.name == "token_embd.weight");
    if let Some(embedding) = embedding.filter(|_| !has_output && description.form != families::Form::Encoder)
    {
        let family = families::Family::for_architecture(&description.architecture);
        let home = match family.is_some_and(families::Family::copies_tied_embedding) {
            true => Home::SecondCopy(n_layers),
            false => Home::Copy(n_layers),
        };
        pieces.push(piece(embedding, Role::Output, home));
    }
    pieces
}

/// Bytes of weights by buffer.
pub(super) fn placed(
    description: &Description,
    bytes: u64,
    pieces: &[Piece],
    gpu_layers: u32,
    repack: Repack,
) -> Placed {
    if pieces.is_empty() {
        return by_share(description, bytes, gpu_layers);
    }
    let n_layers = u64::from(description.n_layers);
    let mut placed = Placed::default();
    for piece in pieces {
        let device = match piece.home {
            Home::Input => false,
            Home::Layer(layer) | Home::Copy(layer) | Home::SecondCopy(layer) => {
                on_device(layer, n_layers, gpu_layers.into())
            }
        };
        if device {
            placed.device = placed.device.saturating_add(piece.bytes);
            placed.largest_on_device = placed.largest_on_device.max(piece.bytes);
        } else if repack.takes(piece) {
            placed.repacked = placed.repacked.saturating_add(piece.bytes);
        } else if !matches!(piece.home, Home::Copy(_)) {
            placed.plain = placed.plain.saturating_add(piece.bytes);
        }
    }
    placed
}

/// Layers alike, the embedding as large as its share of the weights.
fn by_share(description: &Description, bytes: u64, gpu_layers: u32) -> Placed {
    let total = description.parameters.total.max(1) as f64;
    let embedding = description.vocab_size.saturating_mul(description.hidden_size) as f64;
    let of_layers = (bytes as f64 * (1.0 - (embedding / total).min(0.9))) as u64;
    let n_layers = u64::from(description.n_layers.max(1));
    // The output counts as a layer, the first to go.
    let whole = u64::from(gpu_layers).saturating_sub(1).min(n_layers);
    let output = if gpu_layers > 0 { (bytes as f64 * (embedding / total).min(0.5)) as u64 } else { 0 };
    let device = (of_layers / n_layers).saturating_mul(whole).saturating_add(output).min(bytes);
    let kept = if description.tied_embeddings { output } else { 0 };
    Placed {
        plain: bytes.saturating_sub(device).saturating_add(kept).min(bytes),
        repacked: 0,
        device,
        largest_on_device: output.max(of_layers / n_layers),
    }
}

fn tensor_bytes(tensor: &TensorSpec) -> u64 {
    let Some((row, rest)) = tensor.dims.split_first() else { return 0 };
    let rows = rest.iter().fold(1u64, |product, dim| product.saturating_mul(*dim));
    let bytes = tensor.ty.row_bytes(*row).unwrap_or(u64::MAX / 4).saturating_mul(rows);
    bytes.min(u64::MAX / 4).next_multiple_of(ALIGNMENT_BYTES)
}
