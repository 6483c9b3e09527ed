"""OUTCAR and vasprun.xml in VASP's layout, of two atoms and numbers of our own."""

from dataclasses import dataclass

CELL = "4.000000000  0.000000000  0.000000000     0.250000000  0.000000000  0.000000000"
RULE = " " + "-" * 83
HEADER = """ vasp.{version} (build) complex

   VRHFIN =Cu: d10 p1
   TITEL  = PAW_PBE Cu_pv 06Sep2000
   VRHFIN =O: s2p4
   TITEL  = PAW_PBE O 08Apr2002
   ions per type =               1   1
   NELM   =   {nelm};   NELMIN=  2; NELMDL= -5     # of ELM steps
   ISIF   =      {isif}    stress and relaxation
   ENCUT  =  400.0 eV  29.40 Ry    5.42 a.u.
   ISMEAR =     1;   SIGMA  =   0.20  broadening in eV
"""
BASIS = f""" VOLUME and BASIS-vectors are now :
{RULE}
  volume of cell :       64.00
      direct lattice vectors                 reciprocal lattice vectors
     4.000000000  0.000000000  0.000000000     0.250000000  0.000000000  0.000000000
     0.000000000  4.000000000  0.000000000     0.000000000  0.250000000  0.000000000
     0.000000000  0.000000000  4.000000000     0.000000000  0.000000000  0.250000000
"""
LEARNED = f"""
  ML FORCE on cell =-STRESS in cart. coord. units (eV/cell)
  in kB       9.00000     9.00000     9.00000     9.00000     9.00000     9.00000
 {BASIS}
  POSITION                                       TOTAL-FORCE (eV/Angst) (ML)
{RULE}
      0.00000      0.00000      0.00000         9.000000      9.000000      9.000000
      2.10000      2.00000      2.00000        -9.000000     -9.000000     -9.000000

  free  energy ML TOTEN  =        -9.99999999 eV

  ML energy  without entropy=       -9.99999999  ML energy(sigma->0) =       -9.99999999
"""


@dataclass
class Step:
    """One ionic step: F, E(sigma->0), electronic iterations, and what VASP prints or not."""

    free: float = -7.5
    iterations: int = 4
    loop: str | None = "because EDIFF is reached"
    table: bool = True
    kilobar: str | None = "16.02177    32.04353    48.06530     3.20435     6.40871     4.80653"
    learned: bool = False
    dispersion: bool = False

    def outcar(self, number: int) -> str:
        lines = [
            f"{'-' * 39} Iteration {number:6d}({k:4d})  {'-' * 39}\n"
            f"  free energy    TOTEN  =       {self.free + k:12.8f} eV"
            for k in range(1, self.iterations + 1)
        ]
        lines += [f"{'-' * 24} aborting loop {self.loop} {'-' * 40}"] * (self.loop is not None)
        if self.kilobar:
            lines += ["  FORCE on cell =-STRESS in cart. coord.  units (eV):"]
            lines += [f"  in kB      {self.kilobar}"]
        more = "        0.400000      0.100000     -0.200000" * self.dispersion
        title = " TOTAL-FORCE (eV/Angst)" + ", FORCE-w/o vdW (eV/Angst)" * self.dispersion
        lines += [BASIS]
        if self.table:
            lines += [f" POSITION                      {title}", RULE]
            lines += [
                f"      0.00000      0.00000      0.00000    0.500000 0.100000-0.200000{more}"
            ]
            lines += [
                f"      2.10000      2.00000      2.00000   -0.500000-0.100000 0.200000{more}"
            ]
        without = "    w/o vdW =     -6.40000000 eV" * self.dispersion
        lines += [f"  free  energy   TOTEN  =   {self.free:12.8f} eV{without}", ""]
        zero = self.free + 0.25
        lines += [f"  energy  without entropy= {zero:12.8f}  energy(sigma->0) = {zero:12.8f}", ""]
        return "\n".join(lines)


def outcar(steps: list[Step], nelm: int = 60, version: str = "5.4.4.18Apr17", isif: int = 2) -> str:
    parts = [HEADER.format(version=version, nelm=nelm, isif=isif)]
    for number, step in enumerate(steps, 1):
        parts += [LEARNED] * step.learned
        parts += [step.outcar(number)] * (step.iterations > 0)
    return "\n".join(parts)


def vasprun(steps: list[Step], nelm: int = 60, pressure_kbar: float = 0.0) -> str:
    """e_fr_energy of a calculation holds PV, its e_0_energy is VASP's old wrong one."""
    basis = (
        '<crystal><varray name="basis"><v>4.0 0.0 0.0</v><v>0.0 4.0 0.0</v><v>0.0 0.0 4.0</v>'
        '</varray></crystal><varray name="positions"><v>0.0 0.0 0.0</v>'
        "<v>0.525 0.5 0.5</v></varray>"
    )
    work = pressure_kbar * 64 / 1602.1766
    calculations = "".join(_calculation(step, basis, work) for step in steps)
    learned = any(step.learned for step in steps)
    return f"""<?xml version="1.0" encoding="ISO-8859-1"?>
<modeling>
 <generator><i name="program" type="string">vasp</i>
  <i name="version" type="string">6.4</i></generator>
 <incar>{'<i type="logical" name="ML_LMLFF">T</i>' * learned}</incar>
 <kpoints><generation param="Gamma"><v type="int" name="divisions">1 1 1</v></generation>
  <varray name="kpointlist"><v>0.0 0.0 0.0</v></varray><varray name="weights"><v>1.0</v></varray>
 </kpoints>
 <parameters><i type="int" name="NELM">{nelm}</i><i name="PSTRESS">{pressure_kbar}</i>
  <i name="ENCUT">400.0</i></parameters>
 <atominfo><atoms>2</atoms><types>2</types>
  <array name="atoms"><dimension dim="1">ion</dimension><field type="string">element</field>
   <field type="int">atomtype</field>
   <set><rc><c>Cu</c><c>1</c></rc><rc><c>O </c><c>2</c></rc></set></array></atominfo>
 <structure name="initialpos">{basis}</structure>
 {calculations}
</modeling>
"""


def _calculation(step: Step, basis: str, work: float) -> str:
    energy = '<i name="e_fr_energy">{0}</i><i name="e_wo_entrp">{1}</i><i name="e_0_energy">{1}</i>'
    inner = energy.format(step.free, step.free + 0.25)
    loop = f"<scstep><energy>{inner}</energy></scstep>" * step.iterations
    forces = '<varray name="forces"><v>0.5 0.1 -0.2</v><v>-0.5 -0.1 0.2</v></varray>' * step.table
    stress = (
        '<varray name="stress"><v>16.02177 3.20435 4.80653</v><v>3.20435 32.04353 6.40871</v>'
        "<v>4.80653 6.40871 48.0653</v></varray>"
    )
    outer = energy.format(step.free + work, step.free + work)
    return (
        f"<calculation>{loop}<structure>{basis}</structure>{forces}{stress}"
        f"<energy>{outer}</energy></calculation>"
    )
