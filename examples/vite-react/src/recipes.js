// Each ingredient is an amount for one person, its unit and its name.
export const recipes = [
  {
    id: 'lentil-soup',
    title: 'Red lentil soup',
    minutes: 25,
    words: 'one pot',
    ingredients: [[70, 'g', 'red lentils'], [0.5, '', 'onion'], [1, '', 'carrot'], [300, 'ml', 'stock'], [0.5, 'tsp', 'cumin']],
    steps: ['Cut onion and carrot and fry them soft.', 'Add cumin, lentils and stock.', 'Let it simmer for 15 minutes, then blend half of it.'],
  },
  {
    id: 'tomato-pasta',
    title: 'Pasta with burst tomatoes',
    minutes: 20,
    words: 'while the water boils',
    ingredients: [[110, 'g', 'spaghetti'], [150, 'g', 'cherry tomatoes'], [1, 'clove', 'garlic'], [2, 'tbsp', 'olive oil']],
    steps: ['Boil the pasta in salted water.', 'Heat garlic and tomatoes in the oil until they burst.', 'Toss with the pasta and a ladle of its water.'],
  },
  {
    id: 'potato-omelette',
    title: 'Potato omelette',
    minutes: 30,
    words: 'also good cold',
    ingredients: [[2, '', 'eggs'], [150, 'g', 'potatoes'], [0.5, '', 'onion'], [3, 'tbsp', 'olive oil']],
    steps: ['Fry sliced potatoes and onion slowly until tender.', 'Stir into the beaten eggs with salt.', 'Set in the pan, turn it once with a plate.'],
  },
];
