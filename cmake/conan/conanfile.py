"""The recipe for Conan 2: `conan create cmake/conan`, in the sources that it packages. The option `part` chooses what is packaged."""
import os
import re

from conan import ConanFile
from conan.tools.build import check_min_cppstd
from conan.tools.cmake import CMake, CMakeToolchain, cmake_layout
from conan.tools.files import copy, load


class Flashback(ConanFile):
    name = "flashback"
    description = "Decoding policies for retrieval-augmented generation, around a small, fast CPU transformer"
    license = "MIT"
    topics = ("retrieval-augmented-generation", "llm", "kv-cache", "header-only")
    package_type = "header-library"
    settings = "os", "compiler", "build_type", "arch"
    options = {"part": ["policy", "retrieval", "flashback"]}
    default_options = {"part": "flashback"}
    # Each part needs those before it.
    parts = ("policy", "retrieval", "flashback")

    @property
    def packaged(self):
        return self.parts[:self.parts.index(str(self.options.part)) + 1]

    def set_version(self):
        header = load(self, os.path.join(self.recipe_folder, "../../include/flashback/core/version.hpp"))
        self.version = re.search(r'#define FLASHBACK_VERSION "(.*)"', header)[1]

    def export_sources(self):
        root = os.path.join(self.recipe_folder, "../..")
        for pattern in ("CMakeLists.txt", "LICENSE", "cmake/*.cmake", "include/*"):
            copy(self, pattern, src=root, dst=self.export_sources_folder)

    def layout(self):
        cmake_layout(self)

    def requirements(self):
        if "retrieval" in self.packaged:
            self.requires("range-v3/[>=0.12 <1]")
        if "flashback" in self.packaged:
            self.requires("nlohmann_json/[>=3.11 <4]")
            self.requires("xsimd/[>=8.1 <9]")

    def validate(self):
        check_min_cppstd(self, 20)

    def package_id(self):
        self.info.settings.clear()
        self.info.requires.clear()

    def generate(self):
        toolchain = CMakeToolchain(self)
        for option in ("BUILD_EXAMPLES", "BUILD_TESTS", "BUILD_BENCHMARKS"):
            toolchain.cache_variables["FLASHBACK_" + option] = False
        toolchain.generate()

    def build(self):
        CMake(self).configure()

    def package(self):
        for part in self.packaged:
            CMake(self).install(component="flashback" if part == "flashback" else "flashback_" + part)
        copy(self, "LICENSE", src=self.source_folder, dst=os.path.join(self.package_folder, "licenses"))

    def package_info(self):
        # The package has its own config for CMake, whose components and functions are the same everywhere.
        self.cpp_info.set_property("cmake_find_mode", "none")
        self.cpp_info.builddirs = [os.path.join("share", "cmake", "flashback")]
        self.cpp_info.bindirs = self.cpp_info.libdirs = []
