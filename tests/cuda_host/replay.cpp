/* Repeats what a recording device did (recording.py), each array in memory of its own, so that AddressSanitizer
 * sees every access beyond it; fails where a copy to the host holds other bytes than those of the recording.
 *
 * usage: replay RECORD LIBRARY... */
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <map>
#include <string>
#include <vector>

struct Array {
    unsigned char *bytes;
    uint64_t size;
};

static std::map<uint64_t, Array> arrays;  // by the address that they had on the device

[[noreturn]] static void fail(const std::string &message) {
    fprintf(stderr, "replay: %s\n", message.c_str());
    exit(1);
}

/* Return where an address of the recording is now; other words are what they are. */
static uint64_t here(uint64_t word) {
    auto found = arrays.upper_bound(word);
    if (found == arrays.begin()) return word;
    --found;
    if (word - found->first >= found->second.size) return word;
    return (uint64_t)(uintptr_t)(found->second.bytes + (word - found->first));
}

static uint64_t number(FILE *file) {
    uint64_t value = 0;
    if (fread(&value, 8, 1, file) != 1) fail("the record ends too early");
    return value;
}

static std::vector<unsigned char> bytes(FILE *file) {
    std::vector<unsigned char> found(number(file));
    if (!found.empty() && fread(found.data(), 1, found.size(), file) != found.size()) fail("the record ends too early");
    return found;
}

int main(int argc, char **argv) {
    std::vector<void *> libraries;
    for (int i = 2; i < argc; i++) {
        libraries.push_back(dlopen(argv[i], RTLD_NOW | RTLD_LOCAL));
        if (!libraries.back()) fail(dlerror());
    }
    FILE *file = argc > 1 ? fopen(argv[1], "rb") : nullptr;
    if (!file) fail("no record");
    int launches = 0;
    for (int what; (what = fgetc(file)) != EOF;) {
        uint64_t address = what == 'l' ? 0 : number(file);
        if (what == 'a') {
            uint64_t size = number(file);
            arrays[address] = {(unsigned char *)malloc(size), size};
            memset(arrays[address].bytes, 0xff, size);
        } else if (what == 'f') {
            free(arrays.at(address).bytes);
            arrays.erase(address);
        } else if (what == 'i') {
            auto data = bytes(file);
            memcpy((void *)here(address), data.data(), data.size());
        } else if (what == 'o') {
            auto data = bytes(file);
            if (memcmp((void *)here(address), data.data(), data.size())) fail("a copy to the host has other bytes");
        } else if (what == 'z') {
            uint64_t size = number(file);
            memset((void *)here(address), 0, size);
        } else if (what == 'l') {
            auto name = bytes(file), dimensions = bytes(file), arguments = bytes(file);
            std::vector<uint64_t> words(arguments.size() / 8);
            for (size_t i = 0; i < words.size(); i++) {
                memcpy(&words[i], arguments.data() + 8 * i, 8);
                words[i] = here(words[i]);
            }
            std::string entry = "host_" + std::string(name.begin(), name.end());
            const char *(*run)(const void *, const void *, size_t) = nullptr;
            for (void *library : libraries)
                if (!run) *(void **)&run = dlsym(library, entry.c_str());
            if (!run) fail("no kernel " + entry);
            if (const char *message = run(dimensions.data(), words.data(), arguments.size())) fail(entry + ": " + message);
            launches += 1;
        } else {
            fail("the record holds something else");
        }
    }
    fclose(file);
    for (auto &each : arrays) free(each.second.bytes);
    printf("%d launches\n", launches);
    return 0;
}
