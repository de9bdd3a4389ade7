// Runs the table of scenarios through the Swift package: `Scenarios TABLE FILES`, as every language's program does. Prints scenario, step
// and outcome of every line. What Swift's types do not let happen is told as the error that other languages get.
import Foundation
import LlamaPajamas

let sample =
    "Once upon a time there was a little girl who lived in a small house near the forest. One day she went out "
    + "to play with her friend Tom. They ran and jumped and laughed in the sun. Then it was time to go home. Her "
    + "mum was happy to see her and gave her a big hug and a red apple. She ate it and went to bed."

/// What the types do not let happen.
struct Refused: Error {}

struct Line: Sendable {
    let scenario: String, step: String, arguments: [(name: String, value: String)]

    init(_ text: Substring) {
        let cells = text.split(separator: "\t", omittingEmptySubsequences: false).map(String.init)
        (scenario, step) = (cells[0], cells[1])
        arguments = cells.dropFirst(2).filter { !$0.hasPrefix("=> ") }.map { cell in
            let parts = cell.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            return (String(parts[0]), parts[1].replacingOccurrences(of: "\\n", with: "\n"))
        }
    }

    func all(_ name: String) -> [String] { arguments.filter { $0.name == name }.map(\.value) }
    func text(_ name: String) -> String? { all(name).first }
    func number(_ name: String, _ missing: Double = 0) -> Double { text(name).map { Double($0)! } ?? missing }
    func given(_ name: String) -> UInt64? { number(name) == 0 ? nil : UInt64(number(name)) }
    func prompt() throws -> String {
        guard let prompt = text("prompt") else { throw Refused() }
        return String(repeating: prompt, count: Int(number("times", 1)))
    }
    var messages: [Message] {
        arguments.filter { ["system", "user", "assistant"].contains($0.name) }.map { Message(role: $0.name, content: $0.value) }
    }
}

final class Heard: @unchecked Sendable {
    private(set) var text = "", tokens = 0, logprobs = 0

    func hear(_ event: Event) {
        switch event {
        case .token: tokens += 1
        case .text(let more): text += more
        case .logprobs: logprobs += 1
        default: break
        }
    }

    func answer(_ usage: Usage) -> String {
        "stop=\(reason(usage)) completion=\(usage.completionTokens) prompt=\(usage.promptTokens) reused=\(usage.reusedTokens)"
            + (logprobs > 0 ? " logprobs=\(logprobs)" : "") + " text=\(quoted(text))"
    }
}

func reason(_ usage: Usage) -> String {
    switch usage.stopReason {
    case .endOfTurn: "end_of_turn"
    case .stopText: "stop_text"
    case .maxTokens: "max_tokens"
    case .context: "context"
    case .cancelled: "cancelled"
    }
}

func quoted(_ text: String) -> String {
    let escaped = text.replacingOccurrences(of: "\n", with: "\\n").replacingOccurrences(of: "\t", with: "\\t")
    return "\"\(escaped.replacingOccurrences(of: "\"", with: "\\\""))\""
}

func object(_ json: String) -> [String: Any] {
    (try? JSONSerialization.jsonObject(with: Data(json.utf8))) as? [String: Any] ?? [:]
}

/// A defect of the library's tests: no closure of Swift's can make one, because listeners do not throw.
func panicked() -> String {
    typealias Failing = @convention(c) (UnsafeMutablePointer<OpaquePointer?>) -> Int32
    typealias Telling = @convention(c) (OpaquePointer?) -> UnsafePointer<CChar>
    typealias Freeing = @convention(c) (OpaquePointer?) -> Void
    guard let library = dlopen(nil, RTLD_NOW), let fail = dlsym(library, "lp_test_panic"),
        let tell = dlsym(library, "lp_error_details"), let free = dlsym(library, "lp_error_free")
    else { return "no test hooks" }
    var problem: OpaquePointer?
    let status = unsafeBitCast(fail, to: Failing.self)(&problem)
    let details = String(cString: unsafeBitCast(tell, to: Telling.self)(problem))
    unsafeBitCast(free, to: Freeing.self)(problem)
    return status == Int32(ErrorCode.panic.rawValue) ? "error panic \(details)" : "status \(status)"
}

final class Scenario: @unchecked Sendable {
    private let files: String
    private var runtime: Runtime?, model: Model?, session: Session?, adapter: Adapter?, embedder: Embedder?
    private var state = Data()

    init(_ files: String) { self.files = files }

    private func of<T>(_ value: T?) throws -> T {
        guard let value else { throw Refused() }
        return value
    }

    func close() {
        embedder?.close()
        adapter?.release()
        session?.close()
        model?.close()
        runtime?.close()
    }

    func run(_ line: Line) async -> String {
        let cancel = CancelToken()
        if line.text("cancel") == "before" { cancel.cancel() }
        do {
            return try await step(line, cancel)
        } catch LlamaPajamasError.Failed(code: _, reason: _, details: let details) {
            return "error \(object(details)["code"] as? String ?? "none") \(details)"
        } catch is Refused {
            return #"error invalid_argument {"code":"invalid_argument"}"#
        } catch {
            return "error \(error)"
        }
    }

    private func planOptions(_ line: Line) -> PlanOptions {
        PlanOptions(
            contextTokens: line.given("context"), memoryBudgetBytes: line.given("budget"), memoryCapBytes: line.given("cap"),
            variant: line.text("variant"), nThreads: line.given("threads").map(UInt32.init))
    }

    private func generateOptions(_ line: Line) throws -> GenerateOptions {
        var adapters: [AdapterUse] = []
        if line.text("adapter") != nil { adapters.append(AdapterUse(adapter: try of(adapter), scale: Float(line.number("adapter")))) }
        let logprobs = line.number("logprobs", -1)
        return GenerateOptions(
            maxTokens: UInt32(line.number("max", 512)), temperature: Float(line.number("temperature")),
            topP: line.text("top_p").map { Float($0)! }, seed: line.given("seed"), stop: line.all("stop"), jsonSchema: line.text("schema"),
            regex: line.text("regex"), grammar: line.text("grammar"), adapters: adapters, ignoreEndOfTurn: line.number("ignore_end") != 0,
            topLogprobs: logprobs < 0 ? nil : UInt32(logprobs))
    }

    private func step(_ line: Line, _ cancel: CancelToken) async throws -> String {
        func place(_ name: String = "path") -> String { files + "/" + (line.text(name) ?? "") }
        switch line.step {
        case "versions": return "abi=\(abiVersion()) library=\(libraryVersion())"
        case "host": return (object(try hostReport())["host"] as? [String: Any])?["cpu"] != nil ? "ok" : "no processor"
        case "open": runtime = try Runtime(path: place(), options: RuntimeOptions(cpuVariant: line.text("cpu_variant")))
        case "describe":
            let variants = object(try of(runtime).describe())["variants"] as? [[String: Any]] ?? []
            return "variants=\(variants.count) first=\(variants.first?["id"] ?? "none")"
        case "verify": return "ok files=\(object(try verify(place(), cancel: cancel))["files"] ?? "none")"
        case "pull": _ = try pull(line.text("url") ?? "", to: place("to"), cancel: cancel)
        case "plan":
            guard let chosen = try of(runtime).plan(planOptions(line)).chosen else { return "chosen=none" }
            return "chosen=\(chosen.id) context=\(chosen.contextTokens)"
        case "load":
            let stops = line.text("break") != nil
            model = try of(runtime).load(planOptions(line), cancel: cancel) { _ in !stops }
        case "describe_model":
            let told = object(try of(model).describe())
            let decodes = told["is_decoder"] as? Bool == true ? "yes" : "no"
            return "chosen=\((told["choice"] as? [String: Any])?["id"] ?? "none") decoder=\(decodes) vocabulary=\(told["n_vocab"] ?? 0)"
        case "tokenize":
            let tokens = try of(model).tokenize(line.text("text") ?? "")
            return "n=\(tokens.count) tokens=\(tokens.map(String.init).joined(separator: ","))"
        case "detokenize":
            let tokens = line.text("tokens")!.split(separator: ",").map { Int32($0)! }
            return "text=\(quoted(try of(model).detokenize(tokens)))"
        case "session":
            let wishes: [WhenFull?] = [nil, .shift, .grow]
            guard line.number("when_full") < Double(wishes.count) else { throw Refused() }
            let context = line.given("context").map(UInt32.init)
            session = try of(model).session(SessionOptions(contextTokens: context, whenFull: wishes[Int(line.number("when_full"))]))
        case "generate", "chat": return try generate(line, cancel)
        case "stream", "stream_chat": return try await stream(line)
        case "threads": return try await threads(line)
        case "save":
            state = try of(session).save()
            return "ok bytes=\(state.count)"
        case "restore": try of(session).restore(line.text("bytes").map { Data($0.utf8) } ?? state)
        case "fork": session = try of(session).fork()
        case "adapter": adapter = try of(model).loadAdapter(place())
        case "embedder": embedder = try of(model).embedder(EmbedOptions(maxTokens: line.given("max").map(UInt32.init)))
        case "embed":
            let values = try of(embedder).embed(line.text("text") ?? "", cancel: cancel)
            let length = values.reduce(0.0) { $0 + Double($1) * Double($1) }.squareRoot()
            return String(format: "n=%d length=%.2f first=%.4f", values.count, length, values[0])
        case "report":
            let heats: [Heat] = [.cool, .warm, .hot]
            guard line.number("heat") < Double(heats.count) else { throw Refused() }
            return "changes=\(try of(model).report(Signals(heat: heats[Int(line.number("heat"))])).count)"
        case "watch": try of(model).watch(everyMs: 1000) { _ in }.close()
        case "tune":
            let told = try of(runtime).tune(of(model), TuneOptions(budgetS: line.number("budget", 12)), cancel: cancel) { _ in true }
            if object(told)["setting"] == nil { return told }
        case "requantize":
            let options = RequantizeOptions(
                text: sample, precision: line.text("precision"), maxKld: 5.0, nCtx: 32, maxWindows: 2, waitForMains: false)
            let published = object(try of(runtime).requantize(options, cancel: cancel))["published"] as? [String: Any]
            return "published=\(published?["id"] ?? "none")"
        case "quantize":
            let options = QuantizeOptions(
                format: line.text("format"), precisions: line.text("precision").map { [$0] } ?? [],
                targetBytes: line.text("size").map { [UInt64($0)!] } ?? [], nThreads: 1, allowRequantize: line.text("allow") != nil,
                dryRun: line.text("dry") != nil)
            let made = object(try quantize(place("model"), to: place("to"), options, cancel: cancel))["variants"] as? [[String: Any]]
            return "made=\(made?.first?["id"] ?? "none")"
        case "close":
            switch line.text("what") {
            case "session": try of(session).close()
            case "model": try of(model).close()
            default: try of(runtime).close()
            }
        case "panic": return panicked()
        default: return "unknown step \(line.step)"
        }
        return "ok"
    }

    private func generate(_ line: Line, _ cancel: CancelToken) throws -> String {
        let (session, options, heard, how) = (try of(session), try generateOptions(line), Heard(), line.text("cancel") ?? "")
        let first = DispatchSemaphore(value: 0), raised = DispatchSemaphore(value: 0)
        let (cancelAt, breakAt) = (Int(how) ?? 0, Int(line.number("break")))
        if how == "thread" {
            Thread.detachNewThread {
                first.wait()
                cancel.cancel()
                raised.signal()
            }
        }
        let hear: Hear = { event in
            heard.hear(event)
            guard case .token = event else { return true }
            if heard.tokens == 1 { first.signal() }
            if heard.tokens == cancelAt { cancel.cancel() }
            return heard.tokens != breakAt
        }
        let usage = line.step == "chat"
            ? try session.chat(line.messages, options, cancel: cancel, onEvent: hear)
            : try session.generate(try line.prompt(), options, cancel: cancel, onEvent: hear)
        if how == "thread" { raised.wait() }
        return how == "thread" ? "stop=\(reason(usage))" : heard.answer(usage)
    }

    /// Polled answers through the stream, those that are dropped through a task that is cancelled, others through the async stream.
    private func stream(_ line: Line) async throws -> String {
        let (session, options, heard) = (try of(session), try generateOptions(line), Heard())
        let (cancelAt, dropAt) = (Int(line.number("cancel")), Int(line.number("drop")))
        if line.text("poll") != nil || cancelAt > 0 {
            let stream = try session.stream(try line.prompt(), options)
            defer { stream.release() }
            while true {
                for event in try stream.next(timeoutMs: 0) {
                    heard.hear(event)
                    if case .token = event, heard.tokens == cancelAt { stream.cancel() }
                    if case .done(let usage) = event { return cancelAt > 0 ? "stop=\(reason(usage))" : heard.answer(usage) }
                }
            }
        }
        let prompt = line.step == "stream_chat" ? "" : try line.prompt()
        let work = Task { () async throws -> Usage? in
            let events = line.step == "stream_chat" ? session.chatEvents(line.messages, options) : session.events(prompt, options)
            for try await event in events {
                heard.hear(event)
                if case .done(let usage) = event { return usage }
                if case .token = event, heard.tokens == dropAt { withUnsafeCurrentTask { $0?.cancel() } }
            }
            return nil
        }
        let usage = try await work.value
        return dropAt > 0 ? "dropped" : usage.map(heard.answer) ?? "none"
    }

    private func threads(_ line: Line) async throws -> String {
        let (model, count, options, prompt) = (try of(model), Int(line.number("n", 2)), try generateOptions(line), try line.prompt())
        let texts = try await withThrowingTaskGroup(of: String.self) { group in
            for _ in 0..<count {
                group.addTask {
                    let heard = Heard()
                    let session = try model.session()
                    defer { session.close() }
                    for try await event in session.events(prompt, options) { heard.hear(event) }
                    return heard.text
                }
            }
            return try await group.reduce(into: [String]()) { $0.append($1) }
        }
        return "threads=\(count) same=\(Set(texts).count == 1 ? "yes" : "no") text=\(quoted(texts[0]))"
    }
}

guard CommandLine.arguments.count == 3, let table = try? String(contentsOfFile: CommandLine.arguments[1], encoding: .utf8) else {
    FileHandle.standardError.write(Data("usage: Scenarios TABLE FILES\n".utf8))
    exit(2)
}
var scenario = Scenario(CommandLine.arguments[2]), name = ""
for text in table.split(separator: "\n") where !text.hasPrefix("#") {
    let line = Line(text)
    if line.scenario != name {
        scenario.close()
        scenario = Scenario(CommandLine.arguments[2])
        name = line.scenario
    }
    print("\(line.scenario)\t\(line.step)\t\(await scenario.run(line))")
}
scenario.close()
if liveObjects() != 0 {
    FileHandle.standardError.write(Data("\(liveObjects()) objects were not freed\n".utf8))
    exit(1)
}
