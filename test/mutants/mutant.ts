/** A fault sown into the source: one that a test must find. */
export interface Mutant {
  /** One word or a few, joined by '-': to name it on the command line. */
  name: string;
  /** Under src/, or native/…. */
  file: string;
  /** Just as it stands in the file, where it must be once. */
  find: string;
  replace: string;
  /** What is no longer true. */
  breaks: string;
  /** Words for scripts/test.mjs: the test files in one of which it must be found. */
  tests: readonly string[];
}
