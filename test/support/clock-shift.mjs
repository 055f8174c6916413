// Preloaded into a process (NODE_OPTIONS=--import=…), this puts its clock CLOCK_SHIFT_MS milliseconds ahead, or back when
// negative. Timers and performance.now() are monotonic and stay as they are, as on a machine whose clock is wrong.
const shiftMs = Number(process.env['CLOCK_SHIFT_MS']);
const RealDate = Date;

class ShiftedDate extends RealDate {
  /** @param {[]} args */
  constructor(...args) {
    if (args.length === 0) super(RealDate.now() + shiftMs);
    else super(...args);
  }

  /** @override */
  static now() {
    return RealDate.now() + shiftMs;
  }
}

globalThis.Date = /** @type {DateConstructor} */ (ShiftedDate);
