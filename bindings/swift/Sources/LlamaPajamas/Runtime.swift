// Opening, planning, loading.

/// An opened bundle or model file, of which nothing is loaded yet. Any number of threads may use it.
///
/// Calls that fail throw `LlamaPajamasError.Failed` with its code, a line for developers and details as JSON. Objects are freed with
/// their last reference, or by `close()`, which may be called again; a closed one refuses calls with `.invalidArgument`.
public final class Runtime: Sendable {
    let raw: NativeRuntime

    /// Opens the bundle directory or GGUF file at `path`: reads its description, no weights.
    public init(path: String, options: RuntimeOptions = RuntimeOptions()) throws {
        raw = try NativeRuntime.open(path: path, options: options)
    }

    /// What was opened, as JSON: "engine", "variants" and, of a bundle, its manifest as "bundle".
    public func describe() throws -> String { try raw.describe() }

    /// Chooses a variant and settings for this device and explains the choice. Reads no weights.
    public func plan(_ options: PlanOptions = PlanOptions()) throws -> Plan { try raw.plan(options: options) }

    /// Plans and loads what is chosen; `.doesNotFit` when nothing fits. Tells `.loading`. Blocks: not for the main thread.
    public func load(_ options: PlanOptions = PlanOptions(), cancel: CancelToken? = nil, onEvent: Hear? = nil) throws -> Model {
        Model(try listened(onEvent) { try raw.load(options: options, cancel: cancel, listener: $0) })
    }

    /// The same on a thread for waiting; a task that is cancelled meanwhile stops it.
    public func loadAsync(_ options: PlanOptions = PlanOptions(), onEvent: Hear? = nil) async throws -> Model {
        try await waiting { cancel in try self.load(options, cancel: cancel, onEvent: onEvent) }
    }

    /// Races settings of a model on this device and uses the best from now on. Tells `.tuning`. What was found, as JSON.
    public func tune(_ model: Model, _ options: TuneOptions = TuneOptions(), cancel: CancelToken? = nil, onEvent: Hear? = nil) throws -> String {
        try listened(onEvent) { try raw.tune(model: model.raw, options: options, cancel: cancel, listener: $0) }
    }

    /// Makes a further variant of the opened bundle, for a thread of the app's own. Tells `.requantizing`. The outcome as JSON.
    public func requantize(_ options: RequantizeOptions, cancel: CancelToken? = nil, onEvent: Hear? = nil) throws -> String {
        try listened(onEvent) { try raw.requantize(options: options, cancel: cancel, listener: $0) }
    }

    /// Closes it; calls that use it go on.
    public func close() { raw.release() }
}

/// Compares every file of a bundle with its manifest; the first damage is thrown. Tells `.transfer`. What was found, as JSON.
public func verify(_ path: String, trustFolder: String? = nil, cancel: CancelToken? = nil, onEvent: Hear? = nil) throws -> String {
    try listened(onEvent) { try verifyBundle(path: path, trustFolder: trustFolder, cancel: cancel, listener: $0) }
}

/// Fetches variants of a bundle into a folder, which stays what it was until every hash is right. Tells `.transfer`.
public func pull(
    _ manifestUrl: String, to destination: String, _ options: PullOptions = PullOptions(), cancel: CancelToken? = nil, onEvent: Hear? = nil
) throws -> String {
    try listened(onEvent) {
        try pullBundle(manifestUrl: manifestUrl, destination: destination, options: options, cancel: cancel, listener: $0)
    }
}

/// The same on a thread for waiting; a task that is cancelled meanwhile stops it, and the next call goes on from there.
public func pullAsync(
    _ manifestUrl: String, to destination: String, _ options: PullOptions = PullOptions(), onEvent: Hear? = nil
) async throws -> String {
    try await waiting { cancel in try pull(manifestUrl, to: destination, options, cancel: cancel, onEvent: onEvent) }
}

/// Makes variants of a checkpoint's folder or a GGUF file and publishes them together in the bundle at `output`. Tells `.quantizing`. What
/// was made, as JSON.
public func quantize(
    _ model: String, to output: String, _ options: QuantizeOptions = QuantizeOptions(), cancel: CancelToken? = nil, onEvent: Hear? = nil
) throws -> String {
    try listened(onEvent) {
        try quantizeModel(model: model, output: output, options: options, cancel: cancel, listener: $0)
    }
}

/// The same on a thread for waiting; a task that is cancelled meanwhile stops it.
public func quantizeAsync(
    _ model: String, to output: String, _ options: QuantizeOptions = QuantizeOptions(), onEvent: Hear? = nil
) async throws -> String {
    try await waiting { cancel in try quantize(model, to: output, options, cancel: cancel, onEvent: onEvent) }
}
