#!/usr/bin/env python3
"""The recipe of cmake/conan without Conan: a stand-in for what it imports runs its steps for each part, with the real CMake.

Usage: conan.py SOURCE_DIR COMPILER GENERATOR
"""
import fnmatch
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import types

source, compiler, generator = sys.argv[1:]


def run(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        sys.exit("this failed: %s\n%s" % (" ".join(command), done.stdout))


def copy(recipe, pattern, src, dst):
    found = [os.path.relpath(os.path.join(folder, name), src) for folder, _, names in os.walk(src) for name in names]
    for path in fnmatch.filter(found, pattern):
        os.makedirs(os.path.dirname(os.path.join(dst, path)), exist_ok=True)
        shutil.copy(os.path.join(src, path), os.path.join(dst, path))


def load(recipe, path):
    with open(path, encoding="utf-8") as file:
        return file.read()


class CMakeToolchain:
    def __init__(self, recipe):
        self.recipe, self.cache_variables = recipe, {}

    def generate(self):
        self.recipe.variables = ["-D%s=%s" % (name, "ON" if value else "OFF") for name, value in self.cache_variables.items()]


class CMake:
    def __init__(self, recipe):
        self.recipe = recipe

    def configure(self):
        run("cmake", "-S", self.recipe.source_folder, "-B", self.recipe.build_folder, "-G", generator,
            "-DCMAKE_CXX_COMPILER=" + compiler, *self.recipe.variables)

    def install(self, component):
        run("cmake", "--install", self.recipe.build_folder, "--prefix", self.recipe.package_folder, "--component", component)


class ConanFile:
    def requires(self, reference):
        self.required.append(reference)


def module(name, **names):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__dict__.update(names)


module("conan", ConanFile=ConanFile)
module("conan.tools")
module("conan.tools.build", check_min_cppstd=lambda recipe, standard: None)
module("conan.tools.cmake", CMake=CMake, CMakeToolchain=CMakeToolchain, cmake_layout=lambda recipe: None)
module("conan.tools.files", copy=copy, load=load)
spec = importlib.util.spec_from_file_location("conanfile", os.path.join(source, "cmake/conan/conanfile.py"))
conanfile = importlib.util.module_from_spec(spec)
spec.loader.exec_module(conanfile)
with open(os.path.join(source, "cmake/conan/test_package/conanfile.py"), encoding="utf-8") as file:
    compile(file.read(), "test_package", "exec")

# What each part packages, and which packages it asks for.
expected = {
    "policy": ("core decoder fwd.hpp policy policy.hpp testing", ""),
    "retrieval": ("core decoder format fwd.hpp policy policy.hpp retrieval testing text", "range-v3"),
    "flashback": (" ".join(sorted(name for name in os.listdir(os.path.join(source, "include/flashback")) if not name.endswith(".md"))),
                  "range-v3 nlohmann_json xsimd"),
}
with tempfile.TemporaryDirectory() as work:
    for part, (folders, packages) in expected.items():
        recipe = conanfile.Flashback()
        recipe.required = []
        recipe.options = types.SimpleNamespace(part=part)
        recipe.recipe_folder = os.path.join(source, "cmake/conan")
        recipe.export_sources_folder = recipe.source_folder = os.path.join(work, "source")
        recipe.build_folder = os.path.join(work, "build")
        recipe.package_folder = os.path.join(work, part)
        recipe.cpp_info = types.SimpleNamespace(set_property=lambda name, value: None)
        recipe.set_version()
        if not os.path.exists(recipe.source_folder):  # the same for all parts
            recipe.export_sources()
            recipe.layout()
            recipe.validate()
            recipe.generate()
            recipe.build()
        recipe.requirements()
        recipe.package()
        recipe.package_info()
        found = " ".join(sorted(os.listdir(os.path.join(recipe.package_folder, "include/flashback"))))
        if found != folders:
            sys.exit("the part %s packages %s, expected %s" % (part, found, folders))
        asked = " ".join(reference.split("/")[0] for reference in recipe.required)
        if asked != packages:
            sys.exit("the part %s asks for '%s', expected '%s'" % (part, asked, packages))
        for path in ["licenses/LICENSE"] + [os.path.join(folder, "flashbackConfig.cmake") for folder in recipe.cpp_info.builddirs]:
            if not os.path.exists(os.path.join(recipe.package_folder, path)):
                sys.exit("the part %s packages no %s" % (part, path))
        if part == "policy":  # Conan gives the folders of a package to CMake as prefixes
            run("cmake", "-S", os.path.join(source, "cmake/conan/test_package"), "-B", os.path.join(work, "test"), "-G", generator,
                "-DCMAKE_CXX_COMPILER=" + compiler, "-DCMAKE_PREFIX_PATH=" + os.path.join(recipe.package_folder, recipe.cpp_info.builddirs[0]))
            run("cmake", "--build", os.path.join(work, "test"))
            run(os.path.join(work, "test", "consumer"))
print("the recipe packages flashback %s in %d parts" % (recipe.version, len(expected)))
