//! Projectors of GGUF models: llama.cpp's library for pictures and sound.
//!
//! Owns: `GgufProjector`, what may be handed to that library, and what it made of a file. May know: models, contexts.
//! Must not know: messages.

use std::any::Any;
use std::ffi::{CStr, c_char};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::Path;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError};

use llama_cpp_sys_2::{
    MTMD_INPUT_CHUNK_TYPE_TEXT, ggml_log_callback, llama_context, llama_model, mtmd_context,
    mtmd_decode_use_non_causal, mtmd_free, mtmd_input_chunk, mtmd_input_chunk_copy, mtmd_input_chunk_free,
    mtmd_input_chunk_get_n_pos, mtmd_input_chunk_get_n_tokens, mtmd_input_chunk_get_tokens_text,
    mtmd_input_chunk_get_type, mtmd_input_chunks, mtmd_input_chunks_free, mtmd_input_chunks_get,
    mtmd_input_chunks_size, mtmd_support_audio, mtmd_support_vision,
};

use super::context::{ABORTED, GgufContext};
use super::file_kind::Kind;
use super::loading::native_path;
use super::model::GgufModel;
use super::{log, validate};
use crate::{CancelToken, Error, Media, Piece, Projector, ProjectorSettings};

/// Most pixels of a picture, before it is made smaller: 64 million take 192 MB.
const MAX_PIXELS: i64 = 64 << 20;
/// Most bytes of a file.
const MAX_BYTES: usize = 256 << 20;
const MESSAGE_BYTES: usize = 512;

unsafe extern "C" {
    fn llama_pajamas_media_open(
        path: *const c_char,
        model: *const llama_model,
        n_threads: i32,
        gpu: bool,
        log: ggml_log_callback,
        message: *mut c_char,
        message_bytes: usize,
    ) -> *mut mtmd_context;
    fn llama_pajamas_media_read(
        media: *mut mtmd_context,
        bytes: *const u8,
        length: usize,
        is_sound: bool,
        max_pixels: i64,
        message: *mut c_char,
        message_bytes: usize,
    ) -> *mut mtmd_input_chunks;
    fn llama_pajamas_media_encode(
        media: *mut mtmd_context,
        chunk: *const mtmd_input_chunk,
        message: *mut c_char,
        message_bytes: usize,
    ) -> *const f32;
    fn llama_pajamas_media_decode(
        media: *mut mtmd_context,
        context: *mut llama_context,
        chunk: *const mtmd_input_chunk,
        values: *mut f32,
        position: i32,
        sequence: i32,
        n_batch: i32,
        message: *mut c_char,
        message_bytes: usize,
    ) -> i32;
}

/// A projector of a GGUF model. Keeps its model alive.
struct GgufProjector {
    media: NonNull<mtmd_context>,
    /// The library reads one file at a time.
    reading: Mutex<()>,
    model: Arc<GgufModel>,
}

// SAFETY: reading is serialised; whatever else is asked of the library reads what never changes after the opening.
unsafe impl Send for GgufProjector {}
// SAFETY: as above.
unsafe impl Sync for GgufProjector {}

impl Drop for GgufProjector {
    fn drop(&mut self) {
        // SAFETY: it came from an opening, and what was read with it holds this value.
        unsafe { mtmd_free(self.media.as_ptr()) };
    }
}

/// What a projector made of a part of a file.
struct GgufMedia {
    chunk: NonNull<mtmd_input_chunk>,
    values: Vec<f32>,
    n_tokens: usize,
    n_positions: usize,
    /// All of it sees all of it: it is computed at once.
    at_once: bool,
    digest: u64,
    projector: Arc<GgufProjector>,
}

// SAFETY: nothing changes it after it was read.
unsafe impl Send for GgufMedia {}
// SAFETY: as above.
unsafe impl Sync for GgufMedia {}

impl Drop for GgufMedia {
    fn drop(&mut self) {
        // SAFETY: it is a copy of its own.
        unsafe { mtmd_input_chunk_free(self.chunk.as_ptr()) };
    }
}

impl std::fmt::Debug for GgufMedia {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "GgufMedia({} tokens, {:016x})", self.n_tokens, self.digest)
    }
}

impl Media for GgufMedia {
    fn n_tokens(&self) -> usize {
        self.n_tokens
    }

    fn digest(&self) -> u64 {
        self.digest
    }
}

/// The shim's texts about what went wrong.
struct Message([c_char; MESSAGE_BYTES]);

impl Message {
    fn or(&self, otherwise: String) -> String {
        // SAFETY: the shim writes at most `MESSAGE_BYTES` with a NUL at the end, and it starts zeroed.
        let text = unsafe { CStr::from_ptr(self.0.as_ptr()) }.to_string_lossy().into_owned();
        if text.is_empty() { otherwise } else { text }
    }
}

/// Opens the projector in a file.
pub(super) fn open(
    model: Arc<GgufModel>,
    path: &Path,
    settings: &ProjectorSettings,
) -> Result<Arc<dyn Projector>, Error> {
    let header = validate::read_header(path)?;
    let stated = header.metadata.str("general.architecture").unwrap_or("nothing");
    if stated != "clip" {
        let reason = format!("`general.architecture`: expected `clip` of a projector, got `{stated}`");
        return Err(Error::InvalidFile { path: path.to_owned(), reason });
    }
    if !model.has_vocabulary() {
        let reason = "its model was loaded without a vocabulary (`LoadSettings::vocabulary`)".to_owned();
        return Err(Error::Load { path: path.to_owned(), reason });
    }
    let name = native_path(path)?;
    let mut message = Message([0; MESSAGE_BYTES]);
    let n_threads = i32::try_from(settings.n_threads.clamp(1, 512)).expect("at most 512");
    let (media, reason) = log::capture(|| {
        // SAFETY: the model is live, the name ends in NUL, the callback is a plain function.
        unsafe {
            llama_pajamas_media_open(
                name.as_ptr(),
                model.as_ptr(),
                n_threads,
                settings.gpu,
                Some(log::receive),
                message.0.as_mut_ptr(),
                MESSAGE_BYTES,
            )
        }
    });
    let refused = || Error::Load { path: path.to_owned(), reason: message.or(reason.clone()) };
    let media = NonNull::new(media).ok_or_else(refused)?;
    Ok(Arc::new(GgufProjector { media, reading: Mutex::default(), model }))
}

impl Projector for GgufProjector {
    fn sees(&self) -> bool {
        // SAFETY: the projector is live; this reads what it is.
        unsafe { mtmd_support_vision(self.media.as_ptr()) }
    }

    fn hears(&self) -> bool {
        // SAFETY: as above.
        unsafe { mtmd_support_audio(self.media.as_ptr()) }
    }

    fn read(self: Arc<Self>, file: &[u8]) -> Result<Vec<Piece>, Error> {
        let refused = |got: String| Error::Media { expected: self.expected(), got };
        let kind = Kind::of(file).ok_or_else(|| refused("bytes of another kind".into()))?;
        if file.len() > MAX_BYTES {
            return Err(refused(format!("{} bytes, of which {MAX_BYTES} are read at most", file.len())));
        }
        match kind {
            Kind::Picture if !self.sees() => return Err(refused("a picture".into())),
            Kind::Sound if !self.hears() => return Err(refused("sound".into())),
            Kind::Picture | Kind::Sound => {}
        }
        let _one_at_a_time = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let mut message = Message([0; MESSAGE_BYTES]);
        let (chunks, reason) = log::capture(|| {
            // SAFETY: the projector is live and reads nothing else meanwhile; the bytes are as long as told.
            unsafe {
                llama_pajamas_media_read(
                    self.media.as_ptr(),
                    file.as_ptr(),
                    file.len(),
                    kind == Kind::Sound,
                    MAX_PIXELS,
                    message.0.as_mut_ptr(),
                    MESSAGE_BYTES,
                )
            }
        });
        let chunks = Chunks(NonNull::new(chunks).ok_or_else(|| refused(message.or(reason)))?);
        // SAFETY: the chunks are live.
        let n_chunks = unsafe { mtmd_input_chunks_size(chunks.0.as_ptr()) };
        let mut pieces = Vec::with_capacity(n_chunks);
        for index in 0..n_chunks {
            // SAFETY: the chunks are live, and the index is below their number.
            let chunk = unsafe { mtmd_input_chunks_get(chunks.0.as_ptr(), index) };
            // SAFETY: the chunk is the chunks'.
            if unsafe { mtmd_input_chunk_get_type(chunk) } == MTMD_INPUT_CHUNK_TYPE_TEXT {
                let mut n_tokens = 0;
                // SAFETY: as above; the tokens are the chunk's, and copied.
                let tokens = unsafe { mtmd_input_chunk_get_tokens_text(chunk, &raw mut n_tokens) };
                if !tokens.is_null() && n_tokens > 0 {
                    // SAFETY: there are as many as was told.
                    pieces.push(Piece::Tokens(
                        unsafe { std::slice::from_raw_parts(tokens, n_tokens) }.to_vec(),
                    ));
                }
                continue;
            }
            let mut hasher = DefaultHasher::new();
            (file, index).hash(&mut hasher);
            pieces.push(Piece::Media(Arc::new(self.encode(chunk, hasher.finish())?)));
        }
        Ok(pieces)
    }
}

impl GgufProjector {
    fn expected(&self) -> String {
        let mut kinds = Vec::new();
        if self.sees() {
            kinds.push("a picture (JPEG, PNG, BMP, GIF)");
        }
        if self.hears() {
            kinds.push("sound (WAV, MP3, FLAC)");
        }
        kinds.join(" or ")
    }

    /// Under the lock for reading.
    fn encode(self: &Arc<Self>, chunk: *const mtmd_input_chunk, digest: u64) -> Result<GgufMedia, Error> {
        let mut message = Message([0; MESSAGE_BYTES]);
        let (values, reason) = log::capture(|| {
            // SAFETY: the projector and the chunk are live, and it reads nothing else meanwhile.
            unsafe {
                llama_pajamas_media_encode(self.media.as_ptr(), chunk, message.0.as_mut_ptr(), MESSAGE_BYTES)
            }
        });
        if values.is_null() {
            return Err(Error::Media { expected: "what can be encoded".into(), got: message.or(reason) });
        }
        // SAFETY: the chunk is live; a copy is this value's own.
        let (n_tokens, n_positions, at_once, copy) = unsafe {
            (
                mtmd_input_chunk_get_n_tokens(chunk),
                usize::try_from(mtmd_input_chunk_get_n_pos(chunk)).unwrap_or(0),
                mtmd_decode_use_non_causal(self.media.as_ptr(), chunk),
                mtmd_input_chunk_copy(chunk),
            )
        };
        let none = || Error::Media { expected: "memory for it".into(), got: "none".into() };
        let copy = NonNull::new(copy).ok_or_else(none)?;
        // SAFETY: the library keeps so many numbers there until the next call, which the lock holds off.
        let values = unsafe { std::slice::from_raw_parts(values, n_tokens * self.model.input_width()) };
        let (values, projector) = (values.to_vec(), Arc::clone(self));
        Ok(GgufMedia { chunk: copy, values, n_tokens, n_positions, at_once, digest, projector })
    }
}

/// Pieces of one file, freed together.
struct Chunks(NonNull<mtmd_input_chunks>);

impl Drop for Chunks {
    fn drop(&mut self) {
        // SAFETY: they are this value's own.
        unsafe { mtmd_input_chunks_free(self.0.as_ptr()) };
    }
}

/// Where in a context something is appended.
pub(super) struct Place {
    pub(super) sequence: i32,
    /// As the model counts.
    pub(super) position: usize,
    /// Tokens for which there is room.
    pub(super) room: usize,
}

/// Appends what was read to a sequence; tells how many positions it took.
pub(super) fn decode(
    context: &mut GgufContext,
    media: &dyn Media,
    place: &Place,
    cancel: &CancelToken,
) -> Result<usize, Error> {
    let any: &dyn Any = media;
    let own = any.downcast_ref::<GgufMedia>();
    let own = own.filter(|own| std::ptr::eq(Arc::as_ptr(&own.projector.model), context.model()));
    let Some(own) = own else {
        return Err(Error::Media {
            expected: "what was read for the same model".into(),
            got: "another's".into(),
        });
    };
    let (n_tokens, n_ctx) = (own.n_tokens, context.settings().n_ctx as usize);
    if n_tokens > place.room {
        return Err(Error::ContextFull { n_past: n_ctx - place.room.min(n_ctx), n_tokens, n_ctx });
    }
    let n_ubatch = context.settings().n_ubatch as usize;
    if own.at_once && n_tokens > n_ubatch {
        return Err(Error::TextTooLong { n_tokens, max: n_ubatch });
    }
    if cancel.is_cancelled() {
        return Err(Error::Cancelled);
    }
    let position = i32::try_from(place.position).expect("below n_ctx, which is an i32");
    let n_batch = i32::try_from(context.settings().n_batch).expect("checked");
    let mut values = own.values.clone();
    let mut message = Message([0; MESSAGE_BYTES]);
    let (code, reason) = log::capture(|| {
        context.cancellable(cancel, |context| {
            // SAFETY: projector, context and piece are live and of the same model; there are as many values as the piece has
            // tokens, and what must be computed at once fits a micro-batch.
            unsafe {
                llama_pajamas_media_decode(
                    own.projector.media.as_ptr(),
                    context.as_ptr(),
                    own.chunk.as_ptr(),
                    values.as_mut_ptr(),
                    position,
                    place.sequence,
                    n_batch,
                    message.0.as_mut_ptr(),
                    MESSAGE_BYTES,
                )
            }
        })
    });
    match code {
        0 => Ok(own.n_positions),
        ABORTED => Err(context.stopped()),
        code => {
            Err(Error::Decode { n_past: n_ctx - place.room.min(n_ctx), code, reason: message.or(reason) })
        }
    }
}
