// Linked into llama.cpp's tools that are compared by what they print: their logger prints on a thread of its own and is
// never closed, so that what is still in its queue when the process exits would be lost. Changes nothing else.
struct common_log;
// Weak: what does not log, such as CMake's trials of the compiler, links all the same.
[[gnu::weak]] common_log * common_log_main();
[[gnu::weak]] void common_log_flush(common_log * log);

namespace {
struct FlushAtExit {
    ~FlushAtExit() {
        if (common_log_main && common_log_flush) {
            common_log_flush(common_log_main());
        }
    }
} flush_at_exit;
}
