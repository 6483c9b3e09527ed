// Four doubles as one value, and memory that grows. Included inside the namespace of each variant.

#define MTP_INLINE static inline __attribute__((always_inline))

#ifdef MTP_WIDE
typedef double v4 __attribute__((vector_size(32), may_alias));
typedef double v4u __attribute__((vector_size(32), aligned(8), may_alias));

MTP_INLINE v4 load(const double *p) { return *(const v4u *)p; }
MTP_INLINE void store(double *p, v4 a) { *(v4u *)p = a; }
MTP_INLINE v4 splat(double a) { return v4{a, a, a, a}; }
MTP_INLINE v4 positive(v4 a) { return a > 0 ? a : splat(0); }
#else
// Two registers of two doubles, which every x86-64 and ARM processor has; compilers keep such a pair
// in registers but not a vector wider than the machine's.
typedef double v2 __attribute__((vector_size(16), may_alias));
typedef double v2u __attribute__((vector_size(16), aligned(8), may_alias));

struct __attribute__((may_alias)) v4 {
    v2 a, b;
    double &operator[](int lane) { return ((double *)this)[lane]; }
    double operator[](int lane) const { return lane < 2 ? a[lane] : b[lane - 2]; }
};

MTP_INLINE v4 load(const double *p) { return {*(const v2u *)p, *(const v2u *)(p + 2)}; }
MTP_INLINE void store(double *p, v4 x) {
    *(v2u *)p = x.a;
    *(v2u *)(p + 2) = x.b;
}
MTP_INLINE v4 splat(double x) { return {v2{x, x}, v2{x, x}}; }
MTP_INLINE v4 operator+(v4 x, v4 y) { return {x.a + y.a, x.b + y.b}; }
MTP_INLINE v4 operator-(v4 x, v4 y) { return {x.a - y.a, x.b - y.b}; }
MTP_INLINE v4 operator*(v4 x, v4 y) { return {x.a * y.a, x.b * y.b}; }
MTP_INLINE v4 operator*(double x, v4 y) { return splat(x) * y; }
MTP_INLINE v4 operator-(v4 x, double y) { return x - splat(y); }
MTP_INLINE v4 operator-(double x, v4 y) { return splat(x) - y; }
MTP_INLINE v4 operator-(v4 x) { return {-x.a, -x.b}; }
MTP_INLINE v4 &operator+=(v4 &x, v4 y) { return x = x + y; }
MTP_INLINE v4 &operator-=(v4 &x, v4 y) { return x = x - y; }
MTP_INLINE v4 &operator+=(v4 &x, double y) { return x = x + splat(y); }
MTP_INLINE v4 positive(v4 x) {
    const v2 zero = {0, 0};
    return {x.a > zero ? x.a : zero, x.b > zero ? x.b : zero};
}
#endif

MTP_INLINE void add(double *p, v4 a) { store(p, load(p) + a); }
MTP_INLINE double sum(v4 a) { return (a[0] + a[2]) + (a[1] + a[3]); }

class Buffer {
    double *data = nullptr;
    int64_t capacity = 0;

public:
    double *need(int64_t count) {
#ifdef __SANITIZE_ADDRESS__  // no slack in which an overflow could hide
        const bool fits = count == 0 || count == capacity;
        const int64_t wanted = count;
#else
        const bool fits = count <= capacity;
        const int64_t wanted = count + count / 4 + 64;
#endif
        if (!fits) {
            free(data);
            data = nullptr;
            capacity = wanted;
            if (posix_memalign((void **)&data, 64, wanted * 8)) out_of_memory();
        }
#ifdef MTP_POISON  // tests build this: whatever is read before it is written shows as NaN
        for (int64_t i = 0; i < count; ++i) data[i] = __builtin_nan("");
#endif
        return data;
    }
    Buffer() = default;
    Buffer(const Buffer &) = delete;
    Buffer &operator=(const Buffer &) = delete;
    ~Buffer() { free(data); }
};
