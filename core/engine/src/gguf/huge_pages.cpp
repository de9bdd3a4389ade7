// Owns: asking the system for huge pages under ggml's large buffers in main memory. May know: ggml's
// type of buffers. Must not know: what is in them.
//
// Weights, caches and activations are read from one end to the other, token by token: with 4 KiB pages a processor walks
// its page tables all the time, twice as far in a virtual machine. Systems that hand out huge pages only to who asks for
// them (the usual setting of Linux) are asked here, before a buffer is first touched. ggml has no setting for that, but
// every buffer in main memory comes from one function of one type of buffer.

#include "ggml-backend-impl.h"
#include "ggml-backend.h"

#if defined(__linux__)
#    include <sys/mman.h>
#    include <unistd.h>
#endif

#include <cstddef>
#include <cstdint>

namespace {

#if defined(__linux__) && defined(MADV_HUGEPAGE)

// Smaller buffers would gain little, and be rounded up to a huge page, 2 MiB on most processors.
constexpr size_t SMALLEST_BYTES = size_t(8) << 20;

ggml_backend_buffer_t (*allocate)(ggml_backend_buffer_type_t, size_t) = nullptr;

ggml_backend_buffer_t allocate_advised(ggml_backend_buffer_type_t type, size_t bytes) {
    ggml_backend_buffer_t buffer = allocate(type, bytes);
    if (buffer == nullptr || bytes < SMALLEST_BYTES) {
        return buffer;
    }
    const uintptr_t page = uintptr_t(sysconf(_SC_PAGESIZE));
    const uintptr_t start = (uintptr_t(ggml_backend_buffer_get_base(buffer)) + page - 1) / page * page;
    const uintptr_t end = (uintptr_t(ggml_backend_buffer_get_base(buffer)) + bytes) / page * page;
    // Advice: where it is refused, the buffer has small pages as before.
    (void) madvise(reinterpret_cast<void *>(start), end - start, MADV_HUGEPAGE);
    return buffer;
}

#endif

} // namespace

// To be called before any buffer is allocated, by one thread at a time.
extern "C" void llama_pajamas_ask_for_huge_pages() {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    ggml_backend_buffer_type_t type = ggml_backend_cpu_buffer_type();
    if (type->iface.alloc_buffer != allocate_advised) {
        allocate = type->iface.alloc_buffer;
        type->iface.alloc_buffer = allocate_advised;
    }
#endif
}
