import { paletteOf } from '../../../../lib/palette.js';

export async function GET(request, { params }) {
  const { seed } = await params;
  return Response.json({ word: seed, colours: paletteOf(seed).map(({ background }) => background) });
}
