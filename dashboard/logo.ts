/** Tally's logo: four strokes and one across. */
export const LOGO =
  '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><path d="M3 2v12M6.3 2v12M9.6 2v12M12.9 2v12M1 12 15 4" stroke="#2563eb" stroke-width="1.7" stroke-linecap="round"/></svg>\n';
