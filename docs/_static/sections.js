// Search leads to the answer whose heading or index entries hold the words asked for.
const SMALL = new Set("a an and are at by can do does find for from get how i in is make my need of on or run see show the to use want what with".split(" "));
const stems = (text) => text.toLowerCase().replaceAll("iz", "is").match(/[\p{L}\p{N}]+/gu)
  ?.filter((word) => !SMALL.has(word)).map((word) => new Stemmer().stemWord(word)) ?? [];

/** Return the best places; words that no heading has do not count against any. */
function answers(query, hits) {
  const { indexentries, alltitles, docnames, filenames, titles } = Search._index;
  const held = new Map(), often = new Map(), found = [], all = (texts) => new Set(texts.flat());
  for (const [text, places] of [...Object.entries(indexentries), ...Object.entries(alltitles)])
    for (const place of places.map(([file, id]) => `${file} ${id ?? ""}`))
      held.set(place, [...held.get(place) ?? [], stems(text)]);
  for (const texts of held.values()) for (const w of all(texts)) often.set(w, (often.get(w) ?? 0) + 1);
  const worth = (words) => words.reduce((sum, w) => sum + Math.log(1 + held.size / often.get(w)), 0);
  const asked = stems(query).filter((w) => often.has(w)), top = hits.at(-1)?.[0];
  for (const [place, texts] of held) {
    const words = all(texts), there = asked.filter((w) => words.has(w)), [file, id] = place.split(" ");
    const part = (some) => worth(asked.filter((w) => some.includes(w))) / worth(asked), share = part([...words]);
    const whole = Math.max(...texts.map((text) => 200 * part(text) - text.length)); // in one phrase
    if (share > 0.6 || (share > 0.45 && there.length > 1) || (share && (!top || (id && docnames[file] === top))))
      found.push([docnames[file], titles[file], id && `#${id}`, null, share * 1000 + whole, filenames[file], "index"]);
  }
  return found.sort((a, b) => a[4] - b[4]).slice(-5);
}
if (typeof Search !== "undefined") {
  const plain = Search._performSearch;
  Search._performSearch = (query, ...rest) => ((hits) => [...hits, ...answers(query, hits)])(plain(query, ...rest));
}
