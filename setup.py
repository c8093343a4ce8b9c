"""Build the compiled kernels: every ``ext/cython/<name>.pyx`` becomes ``hpcml.kernels.cython.<name>``.

The sources of ``ext/cuda`` go into the package, where nvcc compiles them at the first use of a kernel; with
``HPCML_BUILD_CUDA=1`` their machine code goes there too, for the architectures of
``HPCML_CUDA_ARCHITECTURES`` (75,80,90).

All other metadata is in pyproject.toml. Without a C compiler the installation still succeeds, on the numba
and NumPy kernels; ``HPCML_REQUIRE=cython`` in the environment turns that into a failure.
"""

import importlib.util
import os
import shutil
import sys
import tempfile
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py
from setuptools.errors import BaseError, CompileError, LinkError

SOURCES = Path("ext/cython")
HEADERS = Path("ext/include")
CUDA = Path("ext/cuda")
GENERATED = "build/cython"  # the C that Cython writes: never beside its .pyx

# -ffp-contract=off: a fused a*b + c rounds once instead of twice; one ulp flips a split, and trees must be
# equal to the bit on every machine. -fno-math-errno lets sqrt be one instruction and changes no value.
FLAGS = ["-O3", "-g0", "-ffp-contract=off", "-fno-math-errno", "-Wall"]
DIRECTIVES = {
    "language_level": 3,
    "boundscheck": False,
    "wraparound": False,
    "initializedcheck": False,
    "cdivision": True,
    "embedsignature": True,
}
REQUIRED = "cython" in os.environ.get("HPCML_REQUIRE", "").replace(" ", "").split(",")

PLAIN_PROBE = "int main(void) { return 0; }\n"
OPENMP_PROBE = "#include <omp.h>\nint main(void) { return omp_get_max_threads() < 0; }\n"


def openmp_candidates():
    """Yield (compile flags, link flags) that may give OpenMP on this system."""
    yield ["-fopenmp"], ["-fopenmp"]
    if sys.platform == "darwin":
        for prefix in (os.environ.get("LIBOMP_PREFIX"), "/opt/homebrew/opt/libomp", "/usr/local/opt/libomp"):
            if prefix and Path(prefix, "include", "omp.h").exists():
                yield (
                    ["-Xpreprocessor", "-fopenmp", f"-I{prefix}/include"],
                    [f"-L{prefix}/lib", "-lomp", f"-Wl,-rpath,{prefix}/lib"],
                )


class BuildKernels(build_ext):
    """Translate with Cython into build/, find out what the compiler can do, and compile."""

    def build_extensions(self):
        """Build every kernel, or none where nothing can compile C."""
        if not self.extensions:
            return
        if self.compiler.compiler_type == "msvc" or not self._compiles(PLAIN_PROBE, [], []):
            self._give_up("no C compiler that takes gcc's options was found")
            return
        for compile_flags, link_flags in openmp_candidates():
            if self._compiles(OPENMP_PROBE, compile_flags, link_flags):
                break
        else:
            compile_flags, link_flags = [], []
            self.warn("hpcml: the C compiler has no OpenMP; compiled kernels will use one thread")
        self._translate()
        for extension in self.extensions:
            extension.extra_compile_args = FLAGS + compile_flags
            extension.extra_link_args = list(link_flags)
        self.parallel = self.parallel or min(len(self.extensions), os.cpu_count() or 1)
        super().build_extensions()

    def _compiles(self, source, compile_flags, link_flags):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "probe.c")
            file.write_text(source)
            try:
                # an absolute source would be mirrored below output_dir, so nothing lands in the tree
                objects = self.compiler.compile([str(file)], output_dir=folder, extra_postargs=compile_flags)
                self.compiler.link_executable(objects, "probe", output_dir=folder, extra_postargs=link_flags)
            except (CompileError, LinkError, BaseError, OSError):
                return False
        return True

    def _give_up(self, reason):
        if REQUIRED:
            raise CompileError(f"hpcml: {reason}, and HPCML_REQUIRE names cython")
        self.warn(f"hpcml: {reason}; installing without compiled kernels (numba and NumPy remain)")

    def _translate(self):
        """Replace each .pyx by its generated C; the other attributes of the extensions stay as they are."""
        from Cython.Build import cythonize

        translated = cythonize(
            [Extension(e.name, list(e.sources), depends=list(e.depends)) for e in self.extensions],
            build_dir=GENERATED,
            include_path=[str(SOURCES)],
            compiler_directives=DIRECTIVES,
            force=bool(self.force),
        )
        for extension, done in zip(self.extensions, translated, strict=True):
            extension.sources = list(done.sources)
            extension.include_dirs = [str(HEADERS)]


def extensions():
    """Return one extension for each file of ext/cython."""
    headers = sorted(str(path) for path in HEADERS.glob("*.h"))
    return [
        Extension(
            f"hpcml.kernels.cython.{path.stem}",
            [str(path)],
            depends=headers,
            libraries=["m"],
            optional=not REQUIRED,
        )
        for path in sorted(SOURCES.glob("*.pyx"))
    ]


class BuildSources(build_py):
    """Put the CUDA sources beside the modules that compile them; in a checkout they are found in ext/."""

    def run(self):
        """Copy the modules, then the sources; compile these if that is asked for."""
        super().run()
        if self.editable_mode:
            return
        folder = Path(self.build_lib, "hpcml", "kernels", "cuda", "sources")
        folder.mkdir(parents=True, exist_ok=True)
        for path in CUDA.iterdir():
            shutil.copy(path, folder)
        if os.environ.get("HPCML_BUILD_CUDA", "") == "1":
            compiler = compile_module()
            for text in os.environ.get("HPCML_CUDA_ARCHITECTURES", "75,80,90").split(","):
                for path in CUDA.glob("*.cu"):
                    code, _ = compiler.compiled(path.stem, int(text))
                    (folder / f"{path.stem}.sm_{int(text)}.cubin").write_bytes(code)


def compile_module():
    """Return hpcml.kernels.cuda.compile of this tree: which options each source is compiled with."""
    sys.path.insert(0, str(Path(__file__).parent.resolve()))
    spec = importlib.util.spec_from_file_location("hpcml_cuda_compile", "hpcml/kernels/cuda/compile.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


setup(ext_modules=extensions(), cmdclass={"build_ext": BuildKernels, "build_py": BuildSources})
