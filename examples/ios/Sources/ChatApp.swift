// The app: one window, one conversation, and what iOS tells it.
import LlamaPajamas
import SwiftUI
import UIKit

@main
struct ChatApp: App {
    @State private var chat = Chat()
    @State private var store = ModelStore()
    @Environment(\.scenePhase) private var phase

    var body: some Scene {
        WindowGroup {
            ChatView(chat: chat, store: store)
                .task { await open() }
                .onReceive(NotificationCenter.default.publisher(for: ProcessInfo.thermalStateDidChangeNotification)) { _ in
                    chat.report(Signals(heat: Self.heat))
                }
                .onReceive(NotificationCenter.default.publisher(for: .NSProcessInfoPowerStateDidChange)) { _ in
                    chat.report(Signals(saver: ProcessInfo.processInfo.isLowPowerModeEnabled))
                }
                .onReceive(NotificationCenter.default.publisher(for: UIApplication.didReceiveMemoryWarningNotification)) { _ in
                    Task { await memoryIsShort() }
                }
        }
        .onChange(of: phase) { _, now in
            switch now {
            case .background: stopInTime()
            case .active: Task { chat.state == .closed ? await open() : chat.comeBack() }
            default: break
            }
        }
    }

    private func open() async {
        guard let model = await store.model() else { return }
        await chat.open(model.path(percentEncoded: false), measuredIn: ModelStore.support.path(percentEncoded: false))
    }

    /// The system waits for a background task that was begun before the app is suspended: nothing may be on the GPU after it.
    private func stopInTime() {
        let task = UIApplication.shared.beginBackgroundTask()
        Task {
            await chat.leave(keepingModel: false)
            UIApplication.shared.endBackgroundTask(task)
        }
    }

    /// New answers are refused for a while; nothing tells when there is room again.
    private func memoryIsShort() async {
        chat.report(Signals(memory: .critical))
        try? await Task.sleep(for: .seconds(20))
        chat.report(Signals(memory: .enough))
    }

    private static var heat: Heat {
        switch ProcessInfo.processInfo.thermalState {
        case .nominal, .fair: .cool
        case .serious: .warm
        default: .hot
        }
    }
}
