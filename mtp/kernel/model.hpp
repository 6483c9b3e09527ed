// The potential as the kernel wants it: monomial tree, polynomials per radial index, product runs.
#pragma once
#include <algorithm>
#include <array>
#include <map>
#include <stdexcept>
#include <vector>

#include "tables.hpp"

namespace mtp {

class Model {
public:
    using Powers = std::array<int, 3>;

    // basic (n, 4), times (m, 4) and mapping (k) as in the potential file, checked by the caller.
    Model(const int *basic, int basics, const int *times, int products, const int *mapping, int scalars,
          int nodes, int species, int radial_count, int radial_size, double min_dist, double max_dist)
        : mapping_(mapping, mapping + scalars) {
        tables_ = {};
        tables_.species = species;
        tables_.radial_size = radial_size;
        tables_.radial_count = radial_count;
        tables_.basics = basics;
        tables_.nodes = nodes;
        tables_.scalars = scalars;
        tables_.min_dist = min_dist;
        tables_.max_dist = max_dist;
        tables_.scaling = 1;
        std::vector<Powers> powers(basics);
        for (int n = 0; n < basics; ++n) powers[n] = {basic[4 * n + 1], basic[4 * n + 2], basic[4 * n + 3]};
        build_monomials(powers);
        build_polynomials(powers, basic);
        build_products(times, products);
        radial_.resize(size_t(species) * species * radial_count * radial_size);
        species_energy_.resize(species);
        moment_coeff_.resize(scalars);
        point();
    }
    Model(const Model &) = delete;

    void set(double scaling, const double *radial, const double *species, const double *moment) {
        tables_.scaling = scaling;
        for (size_t k = 0; k < radial_.size(); ++k) radial_[k] = scaling * radial[k];
        std::copy(species, species + species_energy_.size(), species_energy_.begin());
        std::copy(moment, moment + moment_coeff_.size(), moment_coeff_.begin());
    }
    const Tables &tables() const { return tables_; }
    int64_t parameters() const { return radial_.size() + species_energy_.size() + moment_coeff_.size(); }

private:
    // Closed under lowering any power: derivatives of a monomial are monomials of the list.
    void build_monomials(const std::vector<Powers> &powers) {
        std::vector<Powers> waiting(powers);
        waiting.push_back({0, 0, 0});
        while (!waiting.empty()) {
            const Powers power = waiting.back();
            waiting.pop_back();
            if (!monomial_.emplace(power, 0).second) continue;
            for (int axis = 0; axis < 3; ++axis)
                if (power[axis] > 0) waiting.push_back(lower(power, axis));
        }
        std::vector<Powers> order;
        for (const auto &item : monomial_) order.push_back(item.first);
        std::stable_sort(order.begin(), order.end(), [](const Powers &a, const Powers &b) {
            return a[0] + a[1] + a[2] < b[0] + b[1] + b[2];
        });
        for (size_t n = 0; n < order.size(); ++n) monomial_[order[n]] = int(n);
        for (const Powers &power : order) {
            const int axis = power[2] ? 2 : power[1] ? 1 : 0;
            axis_.push_back(axis);
            parent_.push_back(power[axis] ? monomial_[lower(power, axis)] : 0);
        }
        tables_.monomials = int(order.size());
    }

    void build_polynomials(const std::vector<Powers> &powers, const int *basic) {
        const int basics = int(powers.size());
        for (int mu = 0; mu < tables_.radial_count; ++mu) {
            std::map<int, Term> terms;
            basic_begin_.push_back(int(basic_index_.size()));
            for (int n = 0; n < basics; ++n) {
                if (basic[4 * n] != mu) continue;
                if (!add_moment(terms, powers[n], n, basics))
                    throw std::invalid_argument("alpha_index_basic holds a moment twice");
                basic_index_.push_back(n);
                basic_monomial_.push_back(monomial_[powers[n]]);
                for (int axis = 0; axis < 3; ++axis) {
                    const int power = powers[n][axis];
                    basic_powers_.push_back(power);
                    basic_lower_.push_back(power ? monomial_[lower(powers[n], axis)] : 0);
                }
            }
            for (const bool gradient : {true, false}) {
                term_begin_.push_back(int(terms_.size()));
                for (const auto &item : terms) {
                    const int *b = item.second.basic;
                    if ((b[1] < basics || b[2] < basics || b[3] < basics) == gradient)
                        terms_.push_back(item.second);
                }
            }
        }
        basic_begin_.push_back(basics);
        term_begin_.push_back(int(terms_.size()));
    }

    bool add_moment(std::map<int, Term> &terms, const Powers &power, int n, int none) {
        const auto slot = [&](const Powers &at, int k, double factor) {
            const int monomial = monomial_[at];
            Term &term = terms.emplace(monomial, Term{monomial, {none, none, none, none}, {}}).first->second;
            if (term.basic[k] != none) return false;
            term.basic[k] = n;
            term.factor[k] = factor;
            return true;
        };
        bool fresh = slot(power, 0, 1);
        for (int axis = 0; axis < 3; ++axis)
            if (power[axis] > 0) fresh = slot(lower(power, axis), axis + 1, power[axis]) && fresh;
        return fresh;
    }

    // Sums with one factor c over pairs of nodes, by node.
    using Sums = std::map<std::pair<int, double>, std::vector<Factors>>;

    void build_products(const int *times, int products) {
        Sums sums, uses;
        std::vector<int> depth(tables_.nodes, 0);
        for (const int *row = times; row < times + 4 * products; row += 4) {
            const int a = row[0], b = row[1], target = row[3];
            const double c = row[2];
            depth[target] = std::max({depth[target], depth[a] + 1, depth[b] + 1});
            sums[{target, c}].push_back(offsets(a, b));
            uses[{a, a == b ? 2 * c : c}].push_back(offsets(target, b));
            if (a != b) uses[{b, c}].push_back(offsets(target, a));
        }
        add_runs(sums, [&](int node) { return depth[node]; }, runs_, factors_);
        add_runs(uses, [&](int node) { return -depth[node]; }, uses_, use_factors_);
        tables_.runs = int(runs_.size());
        tables_.uses = int(uses_.size());
    }

    static Factors offsets(int a, int b) { return {uint32_t(a) * 32, uint32_t(b) * 32}; }

    // By depth, as the sums need those before; then by length, so that the length of the inner loop
    // hardly ever changes and the processor foresees where it ends.
    template <class Order>
    static void add_runs(const Sums &sums, const Order &order, std::vector<Run> &runs,
                         std::vector<Factors> &factors) {
        std::vector<Sums::const_iterator> sorted;
        for (auto item = sums.begin(); item != sums.end(); ++item) sorted.push_back(item);
        std::stable_sort(sorted.begin(), sorted.end(), [&](auto a, auto b) {
            return std::make_pair(order(a->first.first), a->second.size()) <
                   std::make_pair(order(b->first.first), b->second.size());
        });
        for (const auto &item : sorted) {
            const int begin = int(factors.size());
            factors.insert(factors.end(), item->second.begin(), item->second.end());
            runs.push_back({item->first.first, begin, int(factors.size()), item->first.second});
        }
    }

    static Powers lower(Powers power, int axis) {
        --power[axis];
        return power;
    }

    void point() {
        tables_.parent = parent_.data();
        tables_.axis = axis_.data();
        tables_.basic_begin = basic_begin_.data();
        tables_.basic_index = basic_index_.data();
        tables_.basic_monomial = basic_monomial_.data();
        tables_.basic_powers = basic_powers_.data();
        tables_.basic_lower = basic_lower_.data();
        tables_.term_begin = term_begin_.data();
        tables_.terms = terms_.data();
        tables_.run = runs_.data();
        tables_.use = uses_.data();
        tables_.factors = factors_.data();
        tables_.use_factors = use_factors_.data();
        tables_.mapping = mapping_.data();
        tables_.radial = radial_.data();
        tables_.species_energy = species_energy_.data();
        tables_.moment_coeff = moment_coeff_.data();
    }

    Tables tables_;
    std::map<Powers, int> monomial_;
    std::vector<int> parent_, axis_, basic_begin_, basic_index_, basic_monomial_, basic_powers_;
    std::vector<int> basic_lower_, term_begin_, mapping_;
    std::vector<Term> terms_;
    std::vector<Run> runs_, uses_;
    std::vector<Factors> factors_, use_factors_;
    std::vector<double> radial_, species_energy_, moment_coeff_;
};

}  // namespace mtp
