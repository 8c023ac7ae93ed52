import { paletteOf } from '../lib/palette.js';

export default async function Page({ searchParams }) {
  const { word } = await searchParams;
  const chosen = typeof word === 'string' && word.trim() ? word.trim().slice(0, 40) : 'harbour';
  return (
    <>
      <h1>Palette of a word</h1>
      <p className="lead">Any word has five colours. These are those of “{chosen}”.</p>
      <form>
        <input name="word" defaultValue={chosen} maxLength={40} aria-label="Word" required />
        <button>Mix</button>
      </form>
      <ul className="palette">
        {paletteOf(chosen).map(({ background, dark }) => (
          <li key={background} style={{ background, color: dark ? '#fff' : '#1b1b1b' }}>{background}</li>
        ))}
      </ul>
      <p className="lead">As JSON: <a href={`/api/palette/${encodeURIComponent(chosen)}`}>/api/palette/{chosen}</a></p>
    </>
  );
}
