//! `iq`: calibration texts and importance matrices. Knows which verb is which; must not do the work.

mod documents;
mod generate;
mod imatrix;

use crate::args::Iq;
use crate::screen::Screen;
use anyhow::Result;

pub(crate) fn run(verb: &Iq, screen: &Screen) -> Result<()> {
    match verb {
        Iq::GenerateCalibration(args) => generate::run(args, screen),
        Iq::Imatrix(args) => imatrix::run(args, screen),
    }
}
