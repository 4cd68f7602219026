/**
 * Results as they are kept in docs/: JSON with a line for each member, and for each element of a list, so
 * that a row is found, and compared with that of another run, at a glance.
 */
export function resultText(result: object): string {
  const members = Object.entries(result).map(([key, value]) => {
    const text =
      Array.isArray(value) && value.length > 0
        ? `[\n${value.map((each) => `  ${JSON.stringify(each)}`).join(',\n')}\n ]`
        : JSON.stringify(value);
    return ` ${JSON.stringify(key)}: ${text}`;
  });
  return `{\n${members.join(',\n')}\n}\n`;
}
