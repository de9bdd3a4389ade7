//! Loading what a plan chose, after the engine has been asked what it takes and the machine what is left by now.
//! Owns that comparison and the steps down after it; must not know how memory is estimated.

use crate::govern::planned_setting;
use crate::model::{LoadedModel, context_settings, load_settings};
use crate::{Error, PlanRequest, PoolSettings, Result, Runtime};
use bundle::Bundle;
use engine::{BufferUse, CancelToken, ContextSettings, MemoryUse, Purpose};
use planner::{Allowance, Candidate, Choice, Plan, Reason, ReasonCode};
use std::path::Path;

/// Plans that are tried one after the other, each for what the one before left over.
const MOST_STEPS: usize = 32;

/// What a plan takes by the engine's account and is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Lack {
    /// `None`: the host's memory; else the name of a device.
    device: Option<String>,
    need_bytes: u64,
    have_bytes: u64,
    /// The plan's own figure.
    planned_bytes: u64,
}

impl Runtime {
    /// What the engine says that `plan` takes: it lays out the chosen file and a context without reading weights, in
    /// milliseconds.
    ///
    /// # Errors
    /// As [`Runtime::load`].
    pub fn dry_run(&self, plan: &Plan) -> Result<MemoryUse> {
        let (choice, candidate, path) = self.chosen(plan)?;
        self.measure(choice, candidate, path)
    }

    fn measure(&self, choice: &Choice, candidate: &Candidate, path: &Path) -> Result<MemoryUse> {
        let reads = candidate.description.form == families::Form::Encoder;
        let purpose = if reads { Purpose::Vectors(None) } else { Purpose::Logits };
        let n_ctx = u32::try_from(choice.context_tokens).unwrap_or(u32::MAX);
        let settings = ContextSettings { purpose, ..context_settings(choice, n_ctx, choice.n_ubatch) };
        Ok(self.engine().measure(path, &load_settings(choice), &settings)?)
    }

    /// Whether the sequences of a pool have room beside what `plan` chose, by the engine's own account; to be asked before
    /// the load.
    ///
    /// # Errors
    /// As [`Runtime::load`]; [`Error::NoRoom`] where they have not.
    pub fn pool_has_room(&self, plan: &Plan, settings: &PoolSettings) -> Result<()> {
        let (choice, candidate, path) = self.chosen(plan)?;
        if !self.engine().has_dry_run() || candidate.description.form != families::Form::Decoder {
            return Ok(());
        }
        let planned = u32::try_from(choice.context_tokens).unwrap_or(u32::MAX);
        let n_ctx = settings.context_tokens.unwrap_or(planned);
        let context = settings.of_context(context_settings(choice, n_ctx, choice.n_ubatch));
        let measured = self.engine().measure(path, &load_settings(choice), &context)?;
        let held = measured.total_bytes().saturating_sub(choice.memory.paged_bytes);
        let need_bytes = held.saturating_add(choice.memory.overhead_bytes);
        let have_bytes = plan.allowance.now_bytes(self.budget_now(&plan.allowance));
        if choice.gpu_layers > 0 || need_bytes <= have_bytes {
            return Ok(());
        }
        let id = format!("{} for {} answers at a time", choice.id, settings.n_sequences);
        Err(Error::NoRoom { id, place: "memory".into(), need_bytes, have_bytes, nearest: None })
    }

    fn chosen<'a>(&'a self, plan: &'a Plan) -> Result<(&'a Choice, &'a Candidate, &'a Path)> {
        let refusal = || Error::NothingFits(plan.refusal().unwrap_or_default());
        let choice = plan.chosen.as_ref().ok_or_else(refusal)?;
        let (candidate, path) = self.variant(&choice.id).ok_or_else(|| Error::Request {
            what: "plan",
            expected: "a variant of this bundle that is on this machine".into(),
            got: choice.id.clone(),
        })?;
        Ok((choice, candidate, path))
    }

    /// Loads what `plan` chose, if the engine's own account of it fits the memory that is there by now: other programs may
    /// have taken some since it was planned. `progress` hears the loaded share, 0 to 1; `cancel` stops it.
    ///
    /// # Errors
    /// A plan that chose nothing, a file that is not here, [`Error::NoRoom`], what the engine refuses, [`Error::Cancelled`].
    pub fn load(
        &self,
        plan: &Plan,
        progress: &mut dyn FnMut(f32),
        cancel: &CancelToken,
    ) -> Result<LoadedModel> {
        match self.lack(plan, &plan.allowance)? {
            None => self.load_unasked(plan, progress, cancel),
            Some(lack) => {
                let smaller =
                    PlanRequest { memory_budget_bytes: Some(lack.left()), ..PlanRequest::default() };
                Err(lack.error(plan, self.plan(&smaller).chosen.as_ref()))
            }
        }
    }

    /// Plans for `request` and loads what is chosen. Where the engine's own account does not fit what is left by now, the
    /// next plan is made for that, down the ladder; the plan that is returned says so ([`ReasonCode::SteppedDown`]).
    ///
    /// # Errors
    /// As [`Runtime::load`]; [`Error::NothingFits`] where no plan is left.
    pub fn plan_and_load(
        &self,
        request: &PlanRequest,
        progress: &mut dyn FnMut(f32),
        cancel: &CancelToken,
    ) -> Result<(Plan, LoadedModel)> {
        let mut request = request.clone();
        let mut stepped = Vec::new();
        let mut plan = self.plan(&request);
        // What is left is compared with what may be used, whatever the plans below count with.
        let allowance = plan.allowance;
        for _ in 0..MOST_STEPS {
            let Some(lack) = self.lack(&plan, &allowance)? else {
                plan.why.append(&mut stepped);
                plan.allowance = allowance;
                let model = self.load_unasked(&plan, progress, cancel)?;
                return Ok((plan, model));
            };
            stepped.push(lack.reason(&plan));
            match lack.device {
                None => request.memory_budget_bytes = Some(lack.left()),
                Some(_) => request.device_memory_cap_bytes = Some(lack.left()),
            }
            plan = self.plan(&request);
        }
        let last = stepped.last().map(|reason| reason.text.clone());
        Err(Error::NothingFits(last.unwrap_or_default()))
    }

    fn load_unasked(
        &self,
        plan: &Plan,
        progress: &mut dyn FnMut(f32),
        cancel: &CancelToken,
    ) -> Result<LoadedModel> {
        let (choice, candidate, path) = self.chosen(plan)?;
        // From here on nobody evicts the files that are about to be read.
        let hold = self.bundle().map(Bundle::hold).transpose()?;
        let have_bytes = || plan.allowance.now_bytes(self.budget_now(&plan.allowance));
        let placed = self.tuned_placement(choice, candidate, path, planned_setting(choice), have_bytes);
        let engine = self.engine();
        let projector = self.projector(&choice.id).filter(|_| choice.memory.projector_bytes > 0);
        let files = (path, projector);
        let model = LoadedModel::load(engine, files, choice.clone(), placed, hold, progress, cancel)?;
        model.steering().set_max_threads(self.host().cpu.usable_cpus);
        if let Some(folder) = self.tuning_folder() {
            self.recall(&model, path, folder, candidate);
        }
        Ok(model)
    }

    /// What is not there for `plan`, first of the host's memory, then of a device's.
    fn lack(&self, plan: &Plan, allowance: &Allowance) -> Result<Option<Lack>> {
        let (choice, candidate, path) = self.chosen(plan)?;
        let have_bytes = allowance.now_bytes(self.budget_now(allowance));
        let memory = &choice.memory;
        let planned_bytes = if choice.unified { memory.total_bytes() } else { memory.host_bytes() };
        if !self.engine().has_dry_run() {
            let lack = Lack { device: None, need_bytes: planned_bytes, have_bytes, planned_bytes };
            return Ok((planned_bytes > have_bytes).then_some(lack));
        }
        let measured = self.measure(choice, candidate, path)?;
        let on_host = |buffer: &&BufferUse| buffer.is_host || choice.unified;
        let buffers: u64 = match measured.buffers.is_empty() {
            true => measured.total_bytes(),
            false => measured
                .buffers
                .iter()
                .filter(on_host)
                .map(BufferUse::total_bytes)
                .fold(0, u64::saturating_add),
        };
        // The engine does not count where it keeps logits, nor what lies beside the model.
        let logits = candidate.description.vocab_size.saturating_mul(4);
        let beside = [logits, memory.overhead_bytes, memory.projector_bytes, memory.draft_bytes];
        let held = buffers.saturating_sub(memory.paged_bytes);
        let need_bytes = beside.into_iter().fold(held, u64::saturating_add);
        if need_bytes > have_bytes {
            return Ok(Some(Lack { device: None, need_bytes, have_bytes, planned_bytes }));
        }
        let devices = self.engine().devices();
        let lacks = measured.buffers.iter().filter(|buffer| !on_host(buffer)).filter_map(|buffer| {
            let device = devices.iter().find(|device| device.name == buffer.name)?;
            let cap = allowance.device_cap_bytes.unwrap_or(u64::MAX);
            let (need_bytes, have_bytes) = (buffer.total_bytes(), device.memory_free_bytes.min(cap));
            let planned_bytes = memory.device_bytes;
            let device = Some(buffer.name.clone());
            (need_bytes > have_bytes).then_some(Lack { device, need_bytes, have_bytes, planned_bytes })
        });
        Ok(lacks.into_iter().next())
    }

    /// What this machine has to spare by now; of a machine that was described, what the description said.
    fn budget_now(&self, allowance: &Allowance) -> u64 {
        match self.is_here() {
            true => hardware::conditions().memory.budget_bytes,
            false => allowance.host_bytes,
        }
    }
}

impl Lack {
    /// What the next plan may count with: what is there, and less than this plan's figure, which was too low.
    fn left(&self) -> u64 {
        self.have_bytes.min(self.planned_bytes.saturating_sub(1))
    }

    fn place(&self) -> &str {
        self.device.as_deref().unwrap_or("memory")
    }

    fn reason(&self, plan: &Plan) -> Reason {
        let (id, context) =
            plan.chosen.as_ref().map_or(("", 0), |choice| (&choice.id, choice.context_tokens));
        ReasonCode::SteppedDown.because(format!(
            "stepped down from {id} with {context} tokens: the engine needs {} of {}, {} are left by now",
            planner::bytes(self.need_bytes),
            self.place(),
            planner::bytes(self.have_bytes)
        ))
    }

    fn error(&self, plan: &Plan, smaller: Option<&Choice>) -> Error {
        let id = plan.chosen.as_ref().map(|choice| choice.id.clone()).unwrap_or_default();
        let nearest = smaller.map(|choice| (choice.id.clone(), choice.context_tokens));
        let (place, need_bytes, have_bytes) = (self.place().to_owned(), self.need_bytes, self.have_bytes);
        Error::NoRoom { id, place, need_bytes, have_bytes, nearest }
    }
}
