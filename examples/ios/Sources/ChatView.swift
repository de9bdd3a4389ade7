// The conversation on the screen.
import SwiftUI

struct ChatView: View {
    let chat: Chat
    let store: ModelStore
    @State private var question = ""

    var body: some View {
        VStack(spacing: 0) {
            ScrollViewReader { scroll in
                ScrollView {
                    LazyVStack(alignment: .leading, spacing: 12) {
                        ForEach(chat.lines) { line in
                            Text(line.text.isEmpty ? "…" : line.text)
                                .padding(10)
                                .background(line.isMine ? Color.accentColor.opacity(0.2) : Color.secondary.opacity(0.12))
                                .clipShape(RoundedRectangle(cornerRadius: 12))
                                .frame(maxWidth: .infinity, alignment: line.isMine ? .trailing : .leading)
                                .id(line.id)
                        }
                    }
                    .padding()
                }
                .onChange(of: chat.lines.last?.text) { if let last = chat.lines.last { scroll.scrollTo(last.id, anchor: .bottom) } }
            }
            Divider()
            footer.padding()
        }
    }

    @ViewBuilder private var footer: some View {
        switch chat.state {
        case .closed:
            switch store.state {
            case .fetching(let fraction): ProgressView("Fetching the model", value: fraction)
            case .failed(let reason): Label(reason, systemImage: "exclamationmark.triangle")
            case .idle: ProgressView()
            }
        case .loading(let fraction):
            ProgressView("Loading the model", value: fraction)
        case .failed(let reason):
            Label(reason, systemImage: "exclamationmark.triangle")
        case .ready, .answering:
            HStack {
                TextField("Message", text: $question, axis: .vertical).textFieldStyle(.roundedBorder).onSubmit(send)
                if chat.state == .answering {
                    Button("Stop", systemImage: "stop.circle.fill", action: chat.stop)
                } else {
                    Button("Send", systemImage: "arrow.up.circle.fill", action: send).disabled(question.isEmpty)
                }
            }
            .labelStyle(.iconOnly)
        }
    }

    private func send() {
        chat.send(question)
        question = ""
    }
}
