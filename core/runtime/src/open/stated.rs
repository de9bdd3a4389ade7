//! What a manifest says of its model, where no file of the bundle tells it here: MLX's directories may have no header.
//! Knows manifests; must not read files.

use bundle::{Bundle, Format};
use families::Description;

/// The model of a bundle of such variants alone.
pub(super) fn description(bundle: &Bundle) -> Option<Description> {
    let variants = bundle.variants();
    let alone = !variants.is_empty() && variants.iter().all(|variant| variant.format == Format::Mlx);
    let stated = bundle.manifest().architecture.as_ref().filter(|_| alone)?.description.clone()?;
    serde_json::from_value(stated).ok()
}
