//! `quantize` in a command without graphs of ONNX.

use super::quantize;
use crate::args::QuantizeWhat;
use crate::screen::Screen;
use anyhow::Result;

pub(crate) fn quantize(args: &QuantizeWhat, screen: &Screen) -> Result<()> {
    quantize::run(&args.model, screen)
}
