/* The part of the CUDA driver that hpcml needs through PyCUDA, on the CPU: kernels are those of libraries that
 * build.py compiles, whose paths stand in place of machine code. It refuses what a driver refuses, and what one
 * may forgive: calls without a context or after a fork, copies beyond an array or from memory that is not
 * page-locked, memory that is given back while work with it is under way. Streams work as late as they may. */
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <dlfcn.h>
#include <functional>
#include <iterator>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <unistd.h>
#include <vector>

typedef uint64_t Address;
enum Result { SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NOT_INITIALIZED = 3, NO_DEVICE = 100,
              INVALID_CONTEXT = 201, INVALID_HANDLE = 400, NOT_FOUND = 500, LAUNCH_FAILED = 719 };

struct Stream { std::deque<std::function<Result()>> queue; uint64_t done = 0; };
struct Event { Stream *stream = nullptr; uint64_t end = 0; };
struct Function { const char *(*run)(const void *, const void *, size_t); int dynamic_shared; };

static std::recursive_mutex guard;
static std::map<Address, size_t> device;           // arrays: address and bytes
static std::map<Address, size_t> pinned;           // page-locked arrays of the host
static std::set<Stream *> streams;
static std::map<std::string, uint64_t> counted;    // calls by name, and bytes copied
static size_t allocated = 0;
static Result failed = SUCCESS;                    // of a kernel: lasts, as that of a context does
static std::string words;                          // of the kernel that failed
static pid_t process = 0;
static int context, retained = 0;                  // the primary one
static thread_local std::vector<void *> current;

static size_t memory() { const char *text = getenv("CUDA_HOST_MEMORY"); return text ? strtoull(text, nullptr, 10) : (size_t)1 << 32; }
static int devices() { const char *text = getenv("CUDA_HOST_DEVICES"); return text ? atoi(text) : 1; }

#define BEGIN(name)                                                   \
    std::lock_guard<std::recursive_mutex> lock(guard);                \
    counted[name] += 1;                                               \
    if (!process || process != getpid()) return NOT_INITIALIZED;
#define IN_CONTEXT(name)                                              \
    BEGIN(name)                                                       \
    if (current.empty() || !retained) return INVALID_CONTEXT;         \
    if (failed) return failed;

static bool inside(const std::map<Address, size_t> &arrays, Address first, size_t bytes) {
    auto found = arrays.upper_bound(first);
    if (found == arrays.begin()) return false;
    --found;
    return first + bytes <= found->first + found->second;
}
static Result run_to(Stream *stream, uint64_t end) {
    while (stream->done < end) {
        auto work = std::move(stream->queue.front());
        stream->queue.pop_front();
        stream->done += 1;
        Result result = work();
        if (result) return failed = result;
    }
    return failed;
}
static Result queue(Stream *stream, std::function<Result()> work) {
    if (!streams.count(stream)) return INVALID_HANDLE;
    stream->queue.push_back(std::move(work));
    return SUCCESS;
}

extern "C" {
/* -- for tests: how often a call came ------------------------------------------------------------------- */
uint64_t host_count(const char *name) { return counted[name]; }
uint64_t host_arrays() { return device.size(); }
uint64_t host_streams() { return streams.size(); }
uint64_t host_retained() { return retained; }
uint64_t host_depth() { return current.size(); }
const char *host_words() { return words.c_str(); }

Result cuInit(unsigned) {
    if (process && process != getpid()) return NOT_INITIALIZED;
    process = getpid();
    return devices() ? SUCCESS : NO_DEVICE;
}
Result cuDriverGetVersion(int *version) { *version = 13000; return SUCCESS; }
Result cuGetErrorString(Result result, const char **text) {
    *text = result == OUT_OF_MEMORY ? "out of memory" : result == LAUNCH_FAILED ? "unspecified launch failure"
          : result == NO_DEVICE ? "no CUDA-capable device is detected" : "refused";
    return SUCCESS;
}
Result cuDeviceGetCount(int *count) { BEGIN("cuDeviceGetCount") *count = devices(); return SUCCESS; }
Result cuDeviceGet(int *found, int number) {
    BEGIN("cuDeviceGet")
    if (number < 0 || number >= devices()) return INVALID_VALUE;
    *found = number;
    return SUCCESS;
}
Result cuDeviceGetName(char *name, int size, int number) {
    BEGIN("cuDeviceGetName")
    snprintf(name, (size_t)size, "CPU in place of GPU %d", number);
    return SUCCESS;
}
Result cuDeviceComputeCapability(int *major, int *minor, int) {
    const char *text = getenv("CUDA_HOST_CAPABILITY");
    int both = text ? atoi(text) : 90;
    *major = both / 10, *minor = both % 10;
    return SUCCESS;
}
Result cuDevicePrimaryCtxRetain(void **found, int) { BEGIN("cuDevicePrimaryCtxRetain") retained += 1; *found = &context; return SUCCESS; }
Result cuDevicePrimaryCtxRelease_v2(int) { BEGIN("cuDevicePrimaryCtxRelease") retained -= 1; return SUCCESS; }
Result cuCtxPushCurrent_v2(void *pushed) { BEGIN("cuCtxPushCurrent") current.push_back(pushed); return SUCCESS; }
Result cuCtxPopCurrent_v2(void **popped) {
    BEGIN("cuCtxPopCurrent")
    if (current.empty()) return INVALID_CONTEXT;
    *popped = current.back();
    current.pop_back();
    return SUCCESS;
}
Result cuCtxSynchronize() {
    IN_CONTEXT("cuCtxSynchronize")
    for (Stream *stream : streams)
        if (Result result = run_to(stream, stream->done + stream->queue.size())) return result;
    return SUCCESS;
}

/* -- memory ----------------------------------------------------------------------------------------------- */
Result cuMemGetInfo_v2(size_t *free, size_t *total) {
    IN_CONTEXT("cuMemGetInfo")
    *total = memory(), *free = memory() - allocated;
    return SUCCESS;
}
Result cuMemAlloc_v2(Address *found, size_t bytes) {
    IN_CONTEXT("cuMemAlloc")
    if (!bytes) return INVALID_VALUE;
    if (bytes > memory() - allocated) return OUT_OF_MEMORY;
    *found = (Address)malloc(bytes);
    memset((void *)*found, 0xff, bytes);
    device[*found] = bytes, allocated += bytes;
    return SUCCESS;
}
Result cuMemFree_v2(Address address) {
    IN_CONTEXT("cuMemFree")
    for (Stream *stream : streams)
        if (!stream->queue.empty()) return INVALID_VALUE;
    auto found = device.find(address);
    if (found == device.end()) return INVALID_VALUE;
    allocated -= found->second;
    device.erase(found);
    free((void *)address);
    return SUCCESS;
}
Result cuMemHostAlloc(void **found, size_t bytes, unsigned) {
    IN_CONTEXT("cuMemHostAlloc")
    *found = malloc(bytes);
    pinned[(Address)*found] = bytes;
    return SUCCESS;
}
Result cuMemFreeHost(void *address) {
    IN_CONTEXT("cuMemFreeHost")
    pinned.erase((Address)address);
    free(address);
    return SUCCESS;
}
Result cuMemcpyHtoDAsync_v2(Address to, const void *from, size_t bytes, Stream *stream) {
    IN_CONTEXT("cuMemcpyHtoDAsync")
    if (!inside(device, to, bytes) || !inside(pinned, (Address)from, bytes)) return INVALID_VALUE;
    counted["bytes to the device"] += bytes;
    return queue(stream, [=] { memcpy((void *)to, from, bytes); return SUCCESS; });
}
Result cuMemcpyDtoHAsync_v2(void *to, Address from, size_t bytes, Stream *stream) {
    IN_CONTEXT("cuMemcpyDtoHAsync")
    if (!inside(device, from, bytes) || !inside(pinned, (Address)to, bytes)) return INVALID_VALUE;
    counted["bytes from the device"] += bytes;
    return queue(stream, [=] { memcpy(to, (void *)from, bytes); return SUCCESS; });
}
Result cuMemsetD8Async(Address at, unsigned char value, size_t bytes, Stream *stream) {
    IN_CONTEXT("cuMemsetD8Async")
    if (!inside(device, at, bytes)) return INVALID_VALUE;
    return queue(stream, [=] { memset((void *)at, value, bytes); return SUCCESS; });
}

/* -- streams and events ----------------------------------------------------------------------------------- */
Result cuStreamCreate(Stream **found, unsigned) { IN_CONTEXT("cuStreamCreate") streams.insert(*found = new Stream); return SUCCESS; }
Result cuStreamDestroy_v2(Stream *stream) {
    BEGIN("cuStreamDestroy")
    if (!streams.erase(stream)) return INVALID_HANDLE;
    run_to(stream, stream->done + stream->queue.size());
    delete stream;
    return SUCCESS;
}
Result cuStreamSynchronize(Stream *stream) {
    IN_CONTEXT("cuStreamSynchronize")
    if (!streams.count(stream)) return INVALID_HANDLE;
    return run_to(stream, stream->done + stream->queue.size());
}
Result cuEventCreate(Event **found, unsigned) { IN_CONTEXT("cuEventCreate") *found = new Event; return SUCCESS; }
Result cuEventDestroy_v2(Event *event) { BEGIN("cuEventDestroy") delete event; return SUCCESS; }
Result cuEventRecord(Event *event, Stream *stream) {
    IN_CONTEXT("cuEventRecord")
    if (!streams.count(stream)) return INVALID_HANDLE;
    event->stream = stream, event->end = stream->done + stream->queue.size();
    return SUCCESS;
}
Result cuEventSynchronize(Event *event) {
    IN_CONTEXT("cuEventSynchronize")
    return event->stream ? run_to(event->stream, event->end) : SUCCESS;
}

/* -- kernels ---------------------------------------------------------------------------------------------- */
Result cuModuleLoadDataEx(void **module, const void *image, unsigned, int *, void **) {
    IN_CONTEXT("cuModuleLoadDataEx")
    *module = dlopen((const char *)image, RTLD_NOW | RTLD_LOCAL);
    return *module ? SUCCESS : INVALID_VALUE;
}
Result cuModuleUnload(void *) { BEGIN("cuModuleUnload") return SUCCESS; }
Result cuModuleGetFunction(Function **found, void *module, const char *name) {
    IN_CONTEXT("cuModuleGetFunction")
    void *entry = dlsym(module, ("host_" + std::string(name)).c_str());
    if (!entry) return NOT_FOUND;
    *found = new Function{nullptr, 48 * 1024};
    memcpy(&(*found)->run, &entry, sizeof entry);
    return SUCCESS;
}
Result cuFuncSetAttribute(Function *function, int what, int value) {
    IN_CONTEXT("cuFuncSetAttribute")
    if (what != 8 || value > 227 * 1024) return INVALID_VALUE;  // the most dynamic shared memory
    function->dynamic_shared = value;
    return SUCCESS;
}
Result cuFuncSetBlockShape(Function *, int, int, int) { return SUCCESS; }
Result cuLaunchKernel(Function *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                      unsigned shared, Stream *stream, void **arguments, void **extra) {
    IN_CONTEXT("cuLaunchKernel")
    if (arguments || !extra || (uintptr_t)extra[0] != 1 || (uintptr_t)extra[2] != 2) return INVALID_VALUE;
    if ((int)shared > function->dynamic_shared) return INVALID_VALUE;
    std::vector<uint64_t> given(*(size_t *)extra[3] / 8);
    memcpy(given.data(), extra[1], 8 * given.size());
    return queue(stream, [=] {
        unsigned dimensions[] = {gx, gy, gz, bx, by, bz, shared, 0};
        const char *message = function->run(dimensions, given.data(), 8 * given.size());
        if (message) words = message;
        return message ? LAUNCH_FAILED : SUCCESS;
    });
}
}
