// Loaded models, and what is opened of them.

/// Loaded weights with their tokenizer. Any number of threads may use it.
public final class Model: Sendable {
    let raw: NativeModel

    init(_ raw: NativeModel) { self.raw = raw }

    /// What was loaded and how, as JSON: "choice", "memory", "engine", "n_vocab", "is_decoder", …
    public func describe() throws -> String { try raw.describe() }

    /// Tokens of `text`; `addSpecial` adds what the model wants around a text, as a generation does.
    public func tokenize(_ text: String, addSpecial: Bool = true) throws -> [Int32] { try raw.tokenize(text: text, addSpecial: addSpecial) }

    /// Text of `tokens`, without control tokens and those that are not in the vocabulary.
    public func detokenize(_ tokens: [Int32]) throws -> String { try raw.detokenize(tokens: tokens) }

    /// Opens a session with an empty text and a context of its own.
    public func session(_ options: SessionOptions = SessionOptions()) throws -> Session { Session(try raw.session(options: options)) }

    /// Loads an adapter from a GGUF file, for `AdapterUse`; `release()` frees it.
    public func loadAdapter(_ path: String) throws -> Adapter { try raw.loadAdapter(path: path) }

    /// Opens an embedder.
    public func embedder(_ options: EmbedOptions = EmbedOptions()) throws -> Embedder { Embedder(try raw.embedder(options: options)) }

    /// Tells what the app knows of the device and the library cannot see; what the model does about it, as JSON.
    public func report(_ signals: Signals = Signals()) throws -> [String] { try raw.report(signals: signals) }

    /// Reads the device's signals on a thread of its own; `onChange` runs on that thread, with JSON.
    public func watch(everyMs: UInt32 = 2000, onChange: (@Sendable (String) -> Void)? = nil) throws -> Watch {
        let ear = onChange.map { tell in
            Ear { event in
                if case .change(let json) = event { tell(json) }
                return true
            }
        }
        return Watch(try raw.watch(everyMs: everyMs, listener: ear))
    }

    /// Closes it; its weights leave memory with the last session, embedder, adapter or watch of it.
    public func close() { raw.release() }
}

/// Turns texts into vectors. Threads that share one wait for each other.
public final class Embedder: Sendable {
    private let raw: NativeEmbedder

    init(_ raw: NativeEmbedder) { self.raw = raw }

    /// The vector of `text`.
    public func embed(_ text: String, cancel: CancelToken? = nil) throws -> [Float] { try raw.embed(text: text, cancel: cancel) }

    public func close() { raw.release() }
}

/// Reads the device's signals for one model until it is closed, which is not to be done by its callback.
public final class Watch: Sendable {
    private let raw: NativeWatch

    init(_ raw: NativeWatch) { self.raw = raw }

    public func close() { raw.release() }
}
