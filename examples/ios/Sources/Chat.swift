// The conversation without its view: what ChatView shows and what its buttons do. Knows nothing of iOS, so that it compiles on Linux too.
import Foundation
import LlamaPajamas
import Observation

@MainActor @Observable
final class Chat {
    enum State: Equatable {
        case closed
        case loading(Double)
        case ready
        case answering
        case failed(String)
    }

    struct Line: Identifiable, Equatable {
        let id = UUID()
        let isMine: Bool
        var text: String
    }

    private(set) var state = State.closed
    private(set) var lines: [Line] = []
    private var model: Model?
    private var session: Session?
    private var watch: Watch?
    private var answering: Task<Void, Never>?

    /// Opens the bundle or GGUF file at `path` for this device; `folder` keeps what is measured between starts.
    func open(_ path: String, measuredIn folder: String? = nil) async {
        state = .loading(0)
        do {
            let runtime = try await Task.detached { try Runtime(path: path, options: RuntimeOptions(tuningFolder: folder)) }.value
            let model = try await runtime.loadAsync(PlanOptions(contextTokens: 2048)) { [weak self] event in
                if case .loading(let fraction) = event { Task { @MainActor in self?.loaded(fraction) } }
                return true
            }
            watch = try model.watch()
            session = try model.session(SessionOptions(whenFull: .shift))
            self.model = model
            state = .ready
        } catch let LlamaPajamasError.Failed(code: .doesNotFit, reason: reason, details: _) {
            state = .failed("This device has too little memory for the model: \(reason)")
        } catch {
            state = .failed("\(error)")
        }
    }

    private func loaded(_ fraction: Double) {
        if case .loading = state { state = .loading(fraction) }
    }

    /// Asks, and shows the answer as it comes.
    func send(_ question: String) {
        guard state == .ready, let session, !question.isEmpty else { return }
        lines.append(Line(isMine: true, text: question))
        let messages = [Message(role: "system", content: "You are a friendly companion.")]
            + lines.map { Message(role: $0.isMine ? "user" : "assistant", content: $0.text) }
        lines.append(Line(isMine: false, text: ""))
        let place = lines.count - 1
        state = .answering
        answering = Task {
            do {
                // The task's end is the answer's end: whoever cancels the one cancels the other.
                for try await piece in session.chatTexts(messages, GenerateOptions(maxTokens: 512)) { lines[place].text += piece }
                state = .ready
            } catch is CancellationError {
                state = .ready
            } catch {
                state = .failed("\(error)")
            }
        }
    }

    /// The button that stops an answer.
    func stop() { answering?.cancel() }

    /// In the background iOS refuses work for the GPU and ends apps that hold much memory: the answer stops, and the model goes
    /// where `keepingModel` is false. `open` brings it back from a mapped file, which takes little more than the first time.
    func leave(keepingModel: Bool) async {
        answering?.cancel()
        await answering?.value
        _ = try? model?.report(Signals(background: true))
        if keepingModel { return }
        watch?.close()
        session?.close()
        model?.close()
        (watch, session, model) = (nil, nil, nil)
        state = .closed
    }

    /// The app is seen again.
    func comeBack() { _ = try? model?.report(Signals(background: false)) }

    /// What the system tells of the device.
    func report(_ signals: Signals) { _ = try? model?.report(signals) }
}
