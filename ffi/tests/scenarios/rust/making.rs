//! Variants made, of a bundle's own parent or of a checkpoint.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use llama_pajamas::quantizer::recipe::Recipe;
use llama_pajamas::quantizer::{BuildRequest, Target, build_bundle, mlx};
use llama_pajamas::requantize::{Error, Make, Outcome, Request};
use llama_pajamas::{CancelToken, Runtime};

use super::{Told, failed, refused};
use crate::table::Line;

const SAMPLE: &str = "Once upon a time there was a little girl who lived in a small house near the forest. One day she went out \
    to play with her friend Tom. They ran and jumped and laughed in the sun. Then it was time to go home. Her \
    mum was happy to see her and gave her a big hug and a red apple. She ate it and went to bed.";

pub(super) fn requantize(line: &Line, runtime: &Runtime, cancel: &CancelToken) -> Told {
    let recipe = recipe(line)?;
    let request = Request {
        n_ctx: 32,
        max_windows: 2,
        max_kld: 5.0,
        wait_for_mains: false,
        ..Request::new(Make::Recipe(recipe), SAMPLE)
    };
    let work = runtime.requantize(request).map_err(not_made)?;
    if cancel.is_cancelled() {
        work.cancel();
    }
    match work.wait().map_err(not_made)? {
        Outcome::Published(published) => Ok(format!("published={}", published.id)),
        other => Ok(format!("published=none {other:?}")),
    }
}

pub(super) fn quantize(line: &Line, model: &Path, output: PathBuf, cancel: &CancelToken) -> Told {
    let mut request = BuildRequest {
        model: model.to_owned(),
        model_id: "made".into(),
        output,
        allow_requantize: line.text("allow").is_some(),
        dry_run: line.text("dry").is_some(),
        threads: 1,
        ..BuildRequest::default()
    };
    let size = line.number("size", 0.0) as u64;
    match line.text("format") {
        None if size != 0 => request.targets.push(Target::FileBytes(size)),
        None => request.precisions.push(recipe(line)?),
        Some("mlx") => {
            let named = line.text("precision").and_then(mlx::Recipe::from_name);
            request.mlx.push(named.ok_or_else(refused)?);
        }
        Some(_) => return Err(refused()),
    }
    if cancel.is_cancelled() {
        return Err(failed(llama_pajamas::Error::Cancelled));
    }
    let made = build_bundle(&request, &mut |_| {}, &mut |_| ControlFlow::Continue(()));
    Ok(format!("made={}", made.map_err(|error| not_made(error.into()))?.variants[0].id))
}

fn recipe(line: &Line) -> Result<Recipe, String> {
    Recipe::from_name(line.text("precision").unwrap_or("balanced")).ok_or_else(refused)
}

fn not_made(error: Error) -> String {
    format!("error {} {}", error.code().name(), error.details())
}
