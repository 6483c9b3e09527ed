// Energies, forces, stresses, and the gradient of the loss by a tangent and an adjoint pass.
// Included inside the namespace of each variant.

struct Worker {
    const Tables &t;
    const Pairs &pairs;
    Site site[W];
    Buffer moments, adjoints, coefficient, rows, gathered, saved, saved_moments, saved_offsets, sums;
    Buffer radial_sums;

    Worker(const Tables &tables, const Pairs &p) : t(tables), pairs(p) {}

    const int *types(int64_t configuration) const {
        return pairs.types + pairs.atom_begin[configuration];
    }

    // Energies, and dV_i/dr_ij added to forces and stress, of up to W atoms of a configuration.
    // With `keep`, what `gradient` needs of every neighbour and the basic moments stay.
    void group(int64_t configuration, int64_t atom, int lanes, const Outputs &out, bool keep) {
        vec *m = (vec *)moments.need(W * (t.nodes + 1)), *g = (vec *)adjoints.need(W * (t.nodes + 1));
        for (int n = 0; n < t.basics; ++n) m[n] = splat(0);
        for (int l = 0; l < lanes; ++l) {
            site[l].build(t, pairs, atom + l, types(configuration),
                          keep ? kept_rows(configuration, atom + l) : nullptr);
            site[l].moments(t, (double *)m + l);
        }
        forward(t, m);
        vec energy = splat(0);
        for (int k = 0; k < t.scalars; ++k) energy += t.moment_coeff[k] * m[t.mapping[k]];
        reverse(t, m, g);
        for (int l = 0; l < lanes; ++l) {
            const double e = energy[l] + t.species_energy[pairs.types[atom + l]];
            out.energy[configuration] += e;
            if (out.sites) out.sites[atom + l] = e;
            if (keep) keep_moments(configuration, atom + l, (const double *)m + l);
            forces(configuration, atom + l, site[l], (const double *)g + l, out, keep);
        }
    }

    const double *adjoint_coefficients(const double *g) {
        double *flat = gathered.need(t.basics + 1);
        for (int n = 0; n < t.basics; ++n) flat[n] = g[W * n];
        flat[t.basics] = 0;
        double *c = coefficient.need(4 * t.term_begin[2 * t.radial_count] + 4);
        gather(t, flat, c);
        return c;
    }

    void forces(int64_t configuration, int64_t atom, const Site &s, const double *g,
                const Outputs &out, bool keep) {
        const double *c = adjoint_coefficients(g);
        double *q = keep ? kept_polynomials(configuration, atom)
                         : rows.need(4 * int64_t(t.radial_count) * s.stride);
        s.polynomials(t, c, q);
        double *pull = sums.need(3 * s.stride + W);
        pair_gradient(s, q, pull, out.stress ? out.stress + 6 * configuration : nullptr,
                      pairs.first[atom]);
        double *force = out.forces + 3 * pairs.atom_begin[configuration];
        const int64_t own = 3 * (atom - pairs.atom_begin[configuration]);
        const int *index = pairs.index + pairs.first[atom];
        double total[3] = {0, 0, 0};
        for (int i = 0; i < s.count; ++i)
            for (int k = 0; k < 3; ++k) {
                const double a = pull[k * s.stride + i];
                total[k] += a;
                force[3 * int64_t(index[i]) + k] -= a;
            }
        for (int k = 0; k < 3; ++k) force[own + k] += total[k];
    }

    // dV/dr = u sum f' Q + (H - u (u . H)) / r with H = sum f dQ/du; virial stress -sum r dV/dr.
    void pair_gradient(const Site &s, const double *q, double *pull, double *stress, int64_t first) {
        vec w[6] = {};
        for (int i = 0; i < W * s.vectors; i += W) {
            vec along = splat(0), h[3] = {};
            for (int mu = 0; mu < t.radial_count; ++mu) {
                const double *row = q + 4 * int64_t(mu) * s.stride + i;
                const vec f = load(s.f + mu * s.stride + i);
                along += load(s.d + mu * s.stride + i) * load(row);
                for (int k = 0; k < 3; ++k) h[k] += f * load(row + (k + 1) * s.stride);
            }
            const vec u[3] = {load(s.u[0] + i), load(s.u[1] + i), load(s.u[2] + i)};
            const vec inverse = load(s.inverse + i);
            along -= (u[0] * h[0] + u[1] * h[1] + u[2] * h[2]) * inverse;
            vec a[3];
            for (int k = 0; k < 3; ++k) {
                a[k] = u[k] * along + h[k] * inverse;
                store(pull + k * s.stride + i, a[k]);
            }
            const vec x = load(pairs.x + first + i), y = load(pairs.y + first + i);
            const vec z = load(pairs.z + first + i);
            w[0] += x * a[0];
            w[1] += y * a[1];
            w[2] += z * a[2];
            w[3] += y * a[2];
            w[4] += x * a[2];
            w[5] += x * a[1];
        }
        if (stress)
            for (int k = 0; k < 6; ++k) stress[k] -= sum(w[k]);
    }

    // ---- kept between the two passes over one configuration --------------------------------------
    void prepare(int64_t configuration) {
        const int64_t begin = pairs.atom_begin[configuration];
        const int64_t atoms = pairs.atom_begin[configuration + 1] - begin;
        int64_t *offset = (int64_t *)saved_offsets.need(atoms + 1), total = 0;
        for (int64_t i = 0; i < atoms; ++i) {
            offset[i] = total;
            const int64_t count = pairs.first[begin + i + 1] - pairs.first[begin + i];
            total += (Site::kept_rows(t) + 4 * t.radial_count) * Site::row_length(count);
        }
        saved.need(total + 2 * W);
        saved_moments.need(atoms * t.basics + 1);
    }
    double *kept_polynomials(int64_t configuration, int64_t atom) {
        const int64_t count = pairs.first[atom + 1] - pairs.first[atom];
        return kept_rows(configuration, atom) + Site::kept_rows(t) * Site::row_length(count);
    }
    double *kept_rows(int64_t configuration, int64_t atom) {
        return saved.need(0) + ((int64_t *)saved_offsets.need(0))[atom - pairs.atom_begin[configuration]];
    }
    double *kept_moments(int64_t configuration, int64_t atom) {
        return saved_moments.need(0) + (atom - pairs.atom_begin[configuration]) * t.basics;
    }
    void keep_moments(int64_t configuration, int64_t atom, const double *m) {
        double *to = kept_moments(configuration, atom);
        for (int n = 0; n < t.basics; ++n) to[n] = m[W * n];
    }

    // ---- gradient ---------------------------------------------------------------------------------
    // d/dtheta of T = energy_weight E + D_delta E for W atoms, delta the displacements of the
    // neighbours: r_ij changes by -(v_j - v_i) - lambda r_ij. gradient: radial part in radial_sums.
    void gradient(int64_t configuration, int64_t atom, int lanes, double energy_weight, const double *v,
                  const double *lambda, double *species, double *moment) {
        Dual *m = (Dual *)moments.need(2 * W * (t.nodes + 1)), *g = (Dual *)adjoints.need(2 * W * (t.nodes + 1));
        for (int n = 0; n < t.basics; ++n) m[n] = {splat(0), splat(0)};
        double *change = gathered.need(t.basics + 1), *motion[W];
        int64_t size = 0;
        for (int l = 0; l < lanes; ++l) {
            site[l].again(t, pairs, atom + l, types(configuration), kept_rows(configuration, atom + l));
            size += 4 * site[l].stride;
        }
        double *next = sums.need(size);
        for (int l = 0; l < lanes; ++l) {
            const Site &s = site[l];
            motion[l] = next;
            next += 4 * s.stride;
            directions(configuration, atom + l, s, v, lambda, motion[l]);
            for (int n = 0; n <= t.basics; ++n) change[n] = 0;
            s.tangent_moments(t, weights(s, motion[l]), change);
            const double *kept = kept_moments(configuration, atom + l);
            for (int n = 0; n < t.basics; ++n) {
                ((double *)&m[n].value)[l] = kept[n];
                ((double *)&m[n].change)[l] = change[n];
            }
            species[pairs.types[atom + l]] += energy_weight;
        }
        forward(t, m);
        for (int k = 0; k < t.scalars; ++k) {
            const Dual &node = m[t.mapping[k]];
            moment[k] += sum(energy_weight * node.value + node.change);
        }
        reverse(t, m, splat(energy_weight), g);
        for (int l = 0; l < lanes; ++l) {
            for (int n = 0; n < t.basics; ++n) change[n] = ((const double *)&g[n].value)[l];
            radial_gradient(site[l], change, kept_polynomials(configuration, atom + l), motion[l],
                            pairs.types[atom + l]);
        }
    }

    // Rows: change of r, then of the unit vector, of every neighbour.
    void directions(int64_t configuration, int64_t atom, const Site &s, const double *v,
                    const double *lambda, double *out) const {
        const int64_t first = pairs.first[atom];
        const double *own = v + 3 * (atom - pairs.atom_begin[configuration]);
        for (int i = 0; i < s.count; ++i) {
            const double *other = v + 3 * int64_t(pairs.index[first + i]);
            for (int k = 0; k < 3; ++k) out[(k + 1) * s.stride + i] = own[k] - other[k];
        }
        for (int k = 1; k < 4; ++k)
            for (int i = s.count; i < W * s.vectors; ++i) out[k * s.stride + i] = 0;
        for (int i = 0; i < W * s.vectors; i += W) {
            const vec x = load(pairs.x + first + i), y = load(pairs.y + first + i);
            const vec z = load(pairs.z + first + i);
            double *row = out + s.stride + i;
            const vec a = load(row) - (lambda[0] * x + lambda[5] * y + lambda[4] * z);
            const vec b = load(row + s.stride) - (lambda[5] * x + lambda[1] * y + lambda[3] * z);
            const vec c = load(row + 2 * s.stride) - (lambda[4] * x + lambda[3] * y + lambda[2] * z);
            const vec ux = load(s.u[0] + i), uy = load(s.u[1] + i), uz = load(s.u[2] + i);
            const vec along = a * ux + b * uy + c * uz, inverse = load(s.inverse + i);
            store(out + i, along);
            store(row, (a - ux * along) * inverse);
            store(row + s.stride, (b - uy * along) * inverse);
            store(row + 2 * s.stride, (c - uz * along) * inverse);
        }
    }

    const double *weights(const Site &s, const double *motion) {
        double *out = rows.need(4 * int64_t(t.radial_count) * s.stride);
        for (int mu = 0; mu < t.radial_count; ++mu)
            for (int i = 0; i < W * s.vectors; i += W) {
                double *row = out + 4 * int64_t(mu) * s.stride + i;
                const vec f = load(s.f + mu * s.stride + i);
                store(row, load(s.d + mu * s.stride + i) * load(motion + i));
                for (int k = 1; k < 4; ++k)
                    store(row + k * s.stride, f * load(motion + k * s.stride + i));
            }
        return out;
    }

    // dT/dc_k += sum_j phi_k Y + phi'_k Z with Y = sum_b g_b P_b + du . grad Q, Z = Q dr.
    void radial_gradient(Site &s, const double *g, const double *kept, const double *motion, int central) {
        double *y = rows.need(t.radial_count * int64_t(2 * s.stride + W)), *z = y + t.radial_count * s.stride;
        s.values(t, g, y);
        for (int mu = 0; mu < t.radial_count; ++mu) {
            store(z + mu * s.stride + W * s.vectors, splat(0));
            for (int i = 0; i < W * s.vectors; i += W) {
                const double *q = kept + 4 * int64_t(mu) * s.stride + i;
                vec a = load(y + mu * s.stride + i);
                for (int k = 1; k < 4; ++k) a += load(motion + k * s.stride + i) * load(q + k * s.stride);
                store(y + mu * s.stride + i, a);
                store(z + mu * s.stride + i, load(motion + i) * load(q));
            }
        }
        project(s, y, z, (vec *)radial_sums.need(0) +
                             int64_t(central) * t.species * t.radial_count * t.radial_size);
    }

    // total[species, mu, k] += sum_j phi_k y + phi'_k z over the neighbours of each species; rows of
    // y and z by radial index. z may be null.
    void project(Site &s, const double *y, const double *z, vec *total) const {
        for (int other = 0; other < t.species; ++other) {
            const int end = s.begin[other + 1];
            for (int i = s.begin[other]; i < end; i += W) {
                s.chebyshev.evaluate(t, load(s.r + i));
                vec mask;
                for (int l = 0; l < W; ++l) mask[l] = i + l < end;
                vec *sums_of = total + int64_t(other) * t.radial_count * t.radial_size;
                for (int mu = 0; mu < t.radial_count; ++mu, sums_of += t.radial_size) {
                    const vec slope = z ? mask * load(z + mu * s.stride + i) : splat(0);
                    const vec b = slope * s.chebyshev.factor;
                    const vec a = mask * load(y + mu * s.stride + i) * s.chebyshev.factor +
                                 slope * s.chebyshev.factor_slope;
                    for (int k = 0; k < t.radial_size; ++k)
                        sums_of[k] += a * s.chebyshev.value[k] + b * s.chebyshev.slope[k];
                }
            }
        }
    }
};
