// Closures as the library's listeners, and calls that tasks wait for.
import Foundation

/// Hears events during a call, on the thread of that call; returns whether to go on. What it throws comes out of the call.
public typealias Hear = @Sendable (Event) throws -> Bool

final class Ear: Listener, @unchecked Sendable {
    private let hear: Hear
    private let lock = NSLock()
    private var problem: (any Error)?

    init(_ hear: @escaping Hear) { self.hear = hear }

    var thrown: (any Error)? { lock.withLock { problem } }

    func onEvent(event: Event) -> Bool {
        if thrown != nil { return false }
        do {
            return try hear(event)
        } catch {
            lock.withLock { problem = error }
            return false
        }
    }
}

func listened<T>(_ hear: Hear?, _ call: ((any Listener)?) throws -> T) throws -> T {
    guard let hear else { return try call(nil) }
    let ear = Ear(hear)
    let result = Result { try call(ear) }
    if let thrown = ear.thrown { throw thrown }
    return try result.get()
}

/// Runs `call` on a thread for waiting; `stop` runs at once where the task is cancelled meanwhile, and makes it return.
func waiting<T: Sendable>(stop: @escaping @Sendable () -> Void, _ call: @escaping @Sendable () throws -> T) async throws -> T {
    try await withTaskCancellationHandler {
        try await withCheckedThrowingContinuation { continuation in
            DispatchQueue.global().async { continuation.resume(with: Result { try call() }) }
        }
    } onCancel: {
        stop()
    }
}

/// The same for calls that a token stops.
func waiting<T: Sendable>(_ call: @escaping @Sendable (CancelToken) throws -> T) async throws -> T {
    let cancel = CancelToken()
    do {
        return try await waiting(stop: { cancel.cancel() }) { try call(cancel) }
    } catch LlamaPajamasError.Failed(code: .cancelled, reason: _, details: _) {
        throw CancellationError()
    }
}
