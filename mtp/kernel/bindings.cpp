// Python's view of the kernel: Model, Neighbours and the passes over them, one call per data set.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <new>
#include <thread>

#include "model.hpp"
#include "motion.hpp"
#include "neighbours.hpp"
#include "text.hpp"

namespace py = pybind11;
using namespace mtp;
using Doubles = py::array_t<double, py::array::c_style | py::array::forcecast>;
using Integers = py::array_t<int, py::array::c_style | py::array::forcecast>;

void mtp::out_of_memory() { throw std::bad_alloc(); }

namespace {

struct Variant {
    const char *name;
    const Kernel &(*kernel)();
};

// What this processor can run, the widest vectors first.
std::vector<Variant> variants() {
    std::vector<Variant> found;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        if (__builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
            found.push_back({"avx512", avx512_kernel});
        found.push_back({"avx2", avx2_kernel});
    }
#endif
    found.push_back({"baseline", baseline_kernel});
    return found;
}

Variant chosen = variants().front();
const Kernel &kernel() { return chosen.kernel(); }

void use(const std::string &name) {
    for (const Variant &variant : variants())
        if (variant.name == name) {
            chosen = variant;
            return;
        }
    throw std::invalid_argument("this processor does not run " + name);
}

// Consecutive configurations per thread with nearly equal numbers of pairs.
std::vector<int64_t> shares(const Neighbours &n, int threads) {
    const int64_t configurations = int64_t(n.atom_begin.size()) - 1;
    std::vector<int64_t> bounds{0};
    for (int k = 1; k < threads; ++k) {
        const int64_t goal = n.first.back() * k / threads;
        int64_t c = bounds.back();
        while (c < configurations && n.first[n.atom_begin[c + 1]] <= goal) ++c;
        bounds.push_back(c);
    }
    bounds.push_back(configurations);
    return bounds;
}

template <class Work>
void on_threads(const Neighbours &n, int threads, const Work &work) {
    const std::vector<int64_t> bounds = shares(n, std::max(1, threads));
    std::vector<std::thread> pool;
    std::vector<std::exception_ptr> errors(bounds.size());
    const auto guarded = [&](size_t k) {
        try {
            work(int(k), bounds[k], bounds[k + 1]);
        } catch (...) {
            errors[k] = std::current_exception();
        }
    };
    for (size_t k = 1; k + 1 < bounds.size(); ++k) pool.emplace_back(guarded, k);
    guarded(0);
    for (auto &thread : pool) thread.join();
    for (auto &error : errors)
        if (error) std::rethrow_exception(error);
}

void check_types(const Model &model, const Neighbours &n) {
    for (const int type : n.types)
        if (type >= model.tables().species)
            throw std::invalid_argument("atom type " + std::to_string(type) + " is not in the potential, which has " +
                                        std::to_string(model.tables().species) + " species");
}

struct Results {
    Doubles energy, forces, stress, sites;
    explicit Results(const Neighbours &n)
        : energy(py::ssize_t(n.atom_begin.size() - 1)), forces({py::ssize_t(n.types.size()), py::ssize_t(3)}),
          stress({py::ssize_t(n.atom_begin.size() - 1), py::ssize_t(6)}), sites(py::ssize_t(n.types.size())) {
        for (auto *a : {&energy, &forces, &stress, &sites})
            std::fill(a->mutable_data(), a->mutable_data() + a->size(), 0.0);
    }
    Outputs view() {
        return {energy.mutable_data(), forces.mutable_data(), stress.mutable_data(), sites.mutable_data()};
    }
};

py::tuple evaluate(const Model &model, const Neighbours &n, int threads) {
    check_types(model, n);
    Results results(n);
    const Outputs out = results.view();
    {
        py::gil_scoped_release release;
        on_threads(n, threads, [&](int, int64_t begin, int64_t end) {
            kernel().evaluate(model.tables(), n.pairs(), begin, end, out);
        });
    }
    return py::make_tuple(results.energy, results.forces, results.stress, results.sites);
}

py::tuple loss(const Model &model, const Neighbours &n, const std::vector<Doubles> &a, bool gradient,
               int threads) {
    check_types(model, n);
    Results results(n);
    const Outputs out = results.view();
    const Targets targets{a[0].data(), a[1].data(), a[2].data(), a[3].data(), a[4].data(), a[5].data()};
    const int64_t size = model.parameters();
    std::vector<std::vector<double>> part(threads, std::vector<double>(gradient ? size : 0));
    std::vector<double> losses(threads);
    {
        py::gil_scoped_release release;
        on_threads(n, threads, [&](int k, int64_t begin, int64_t end) {
            losses[k] = kernel().loss_gradient(model.tables(), n.pairs(), begin, end, targets, out,
                                               gradient ? part[k].data() : nullptr);
        });
    }
    Doubles total(py::ssize_t(gradient ? size : 0));
    for (int64_t i = 0; i < total.size(); ++i) {
        double s = 0;
        for (const auto &p : part) s += p[i];
        total.mutable_data()[i] = s;
    }
    return py::make_tuple(std::accumulate(losses.begin(), losses.end(), 0.0), total, results.energy,
                          results.forces, results.stress);
}

py::ssize_t count(int64_t n) { return py::ssize_t(n); }

Doubles site_rows(const Model &model, const Neighbours &n, int64_t begin, int64_t end) {
    check_types(model, n);
    if (begin < 0 || end < begin || end >= int64_t(n.atom_begin.size())) throw py::index_error("configurations");
    Doubles rows({count(n.atom_begin[end] - n.atom_begin[begin]), count(model.parameters())});
    double *data = rows.mutable_data();
    py::gil_scoped_release release;
    kernel().site_rows(model.tables(), n.pairs(), begin, end, data);
    return rows;
}

Doubles configuration_rows(const Model &model, const Neighbours &n, int64_t c, bool linear) {
    check_types(model, n);
    if (c < 0 || c + 1 >= int64_t(n.atom_begin.size())) throw py::index_error("configuration");
    const Tables &t = model.tables();
    const int64_t columns = linear ? t.species + t.scalars : model.parameters();
    Doubles rows({count(7 + 3 * (n.atom_begin[c + 1] - n.atom_begin[c])), count(columns)});
    double *data = rows.mutable_data();
    std::fill(data, data + rows.size(), 0.0);
    py::gil_scoped_release release;
    kernel().configuration_rows(t, n.pairs(), c, linear, data);
    return rows;
}

// (values, end) of a table that begins at `at`; None where it is irregular.
py::object table_of_text(const py::bytes &data, py::ssize_t at, py::ssize_t rows, int columns, int flag) {
    char *text = nullptr;
    py::ssize_t size = 0;
    if (PyBytes_AsStringAndSize(data.ptr(), &text, &size)) throw py::error_already_set();
    if (at < 0 || at > size || rows < 0 || columns < 1 || rows > (size - at) / (2 * columns - 1) + 1) return py::none();
    Doubles values({rows, py::ssize_t(columns)});
    const char *end = mtp::parse_table(text + at, text + size, rows, columns, flag, values.mutable_data());
    if (!end) return py::none();
    return py::make_tuple(values, py::ssize_t(end - text));
}

py::str text_of_table(const Integers &types, const Doubles &values, int flag) {
    if (values.ndim() != 2 || values.shape(0) != types.size()) throw std::invalid_argument("one row per type");
    return mtp::format_table(types.data(), values.data(), values.shape(0), int(values.shape(1)), flag);
}

}  // namespace

PYBIND11_MODULE(_kernel, m) {
    m.doc() = "Compiled kernel of moment tensor potentials";
    py::class_<Model>(m, "Model")
        .def(py::init([](const Integers &basic, const Integers &times, const Integers &mapping, int nodes,
                         int species, int radial_count, int radial_size, double min_dist, double max_dist) {
            return new Model(basic.data(), int(basic.shape(0)), times.data(), int(times.shape(0)),
                             mapping.data(), int(mapping.size()), nodes, species, radial_count, radial_size,
                             min_dist, max_dist);
        }))
        .def("set", [](Model &model, double scaling, const Doubles &radial, const Doubles &species,
                       const Doubles &moment) {
            if (radial.size() + species.size() + moment.size() != model.parameters())
                throw std::invalid_argument("wrong number of coefficients");
            model.set(scaling, radial.data(), species.data(), moment.data());
        });
    py::class_<Neighbours>(m, "Neighbours")
        .def(py::init<>())
        .def("add", [](Neighbours &n, const Doubles &cell, const std::array<bool, 3> &periodic,
                       const Doubles &positions, const Integers &types, double cutoff, double closest) {
            n.add(cell.data(), periodic.data(), positions.data(), types.data(), int(types.size()), cutoff, closest);
        }, py::arg(), py::arg(), py::arg(), py::arg(), py::arg(), py::arg("closest") = 1e-4)
        .def("drop_centres", [](Neighbours &n, const py::array_t<bool, py::array::c_style | py::array::forcecast> &dropped) {
            const int64_t atoms = n.atom_begin.size() < 2 ? 0 : n.atom_begin.back() - *(n.atom_begin.end() - 2);
            if (dropped.size() != atoms) throw std::invalid_argument("one flag per atom of the last configuration");
            n.drop_centres(dropped.data());
        })
        .def("move", [](Neighbours &n, const Doubles &strain, const Doubles &displacement) {
            if (strain.size() != 9 || displacement.size() != py::ssize_t(3 * n.types.size()) ||
                n.atom_begin.size() != 2)
                throw std::invalid_argument("move needs one configuration and its atoms");
            move(n, strain.data(), displacement.data());
        })
        .def("pairs", [](const Neighbours &n) {
            const py::ssize_t size = py::ssize_t(n.index.size());
            Doubles vectors({size, py::ssize_t(3)});
            for (py::ssize_t p = 0; p < size; ++p) {
                const double v[3] = {n.x[p], n.y[p], n.z[p]};
                std::copy(v, v + 3, vectors.mutable_data() + 3 * p);
            }
            return py::make_tuple(vectors, py::array_t<int>(size, n.index.data()));
        })
        .def_property_readonly("pair_count", [](const Neighbours &n) { return n.first.back(); })
        .def_property_readonly("atom_begin", [](const Neighbours &n) {
            return py::array_t<int64_t>(py::ssize_t(n.atom_begin.size()), n.atom_begin.data());
        })
        .def_property_readonly("types", [](const Neighbours &n) {
            return py::array_t<int>(py::ssize_t(n.types.size()), n.types.data());
        })
        .def_property_readonly("first", [](const Neighbours &n) {
            return py::array_t<int64_t>(py::ssize_t(n.first.size()), n.first.data());
        });
    m.def("evaluate", &evaluate);
    m.def("farthest", [](const Doubles &now, const Doubles &was) {
        if (now.size() != was.size()) throw std::invalid_argument("farthest needs the same atoms twice");
        return farthest(now.data(), was.data(), now.size() / 3);
    });
    m.def("loss", &loss);
    m.def("site_rows", &site_rows);
    m.def("configuration_rows", &configuration_rows);
    m.attr("fast_text") = fast_text;
    m.def("parse_table", &table_of_text);
    m.def("format_table", &text_of_table);
    m.def("instruction_sets", [] {
        std::vector<std::string> names;
        for (const Variant &variant : variants()) names.push_back(variant.name);
        return names;
    });
    m.def("use", &use);  // one of these; the first without a word
}
