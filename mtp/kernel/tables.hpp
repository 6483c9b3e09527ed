// Plain views shared by the Python binding and the instruction-set variants of the kernel.
// Only pointers here: a template of the standard library instantiated in the AVX files could be
// the copy the linker keeps for everybody, and crash an older processor.
#pragma once
#include <cstdint>

namespace mtp {

// One monomial P_a of the unit vector in the polynomials of one radial index. It carries the basic
// moment of the same powers (slot 0) and, as dP_b/du_x = b_x P_(b - e_x), those one power higher in
// x, y, z (slots 1-3, with factor b_x). An absent slot points at the dummy behind the last moment.
struct Term {
    int monomial;
    int basic[4];
    double factor[4];
};

// Two nodes as byte offsets into an array of four doubles per node; scaled where a node has more.
struct Factors {
    uint32_t a, b;
};

// moment[node] += c times the sum over [begin, end). Forward the two factors are moments; in reverse
// they are the adjoint of a product's target and the moment beside `node` in that product.
struct Run {
    int node, begin, end;
    double c;
};

struct Tables {
    int species, radial_size, radial_count, basics, nodes, scalars, monomials, runs, uses;
    double min_dist, max_dist;
    const int *parent, *axis;              // monomial = parent monomial times u[axis]
    const int *basic_begin;                // by radial index: range in basic_index and basic_monomial
    const int *basic_index, *basic_monomial;
    const int *basic_powers, *basic_lower; // by position in basic_index: powers, monomials one lower
    const int *term_begin;                 // by radial index: [2 mu] terms with a gradient, then value only
    const Term *terms;
    const Run *run, *use;                  // products in order, and their uses, last node first
    const Factors *factors, *use_factors;
    const int *mapping;                    // node of each scalar
    const double *radial;                  // (species, species, radial_count, radial_size), scaled
    const double *species_energy, *moment_coeff;
    double scaling;
};

// Neighbours of all configurations; those of an atom are contiguous and sorted by species.
struct Pairs {
    const double *x, *y, *z;
    const int *index;                      // neighbour within its configuration
    const int64_t *first;                  // (atoms + 1)
    const int *types;                      // (atoms)
    const int64_t *atom_begin;             // (configurations + 1)
};

struct Outputs {
    double *energy, *forces, *stress, *sites; // (C), (N, 3), (C, 6: xx yy zz yz xz xy), (N)
};

struct Targets {
    const double *energy, *forces, *stress;
    const double *energy_weight, *force_weight, *stress_weight; // (C), (N), (C); 0 = no label
};

// What each variant offers; ranges of configurations [begin, end).
struct Kernel {
    void (*evaluate)(const Tables &, const Pairs &, int64_t begin, int64_t end, const Outputs &);
    double (*loss_gradient)(const Tables &, const Pairs &, int64_t begin, int64_t end,
                            const Targets &, const Outputs &, double *gradient);
    // (atoms, parameters): derivatives of the site energies.
    void (*site_rows)(const Tables &, const Pairs &, int64_t begin, int64_t end, double *rows);
    // (1 + 3 atoms + 6, parameters): derivatives of energy, forces, stress of one configuration;
    // `linear`: only the columns of species and moment coefficients.
    void (*configuration_rows)(const Tables &, const Pairs &, int64_t configuration, bool linear,
                               double *rows);
};

[[noreturn]] void out_of_memory();

const Kernel &baseline_kernel();
const Kernel &avx2_kernel();
const Kernel &avx512_kernel();

}  // namespace mtp
