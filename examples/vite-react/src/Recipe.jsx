import { useState } from 'react';
import { Link, useParams } from 'react-router';
import { recipes } from './recipes.js';

export function Recipe() {
  const { id } = useParams();
  const [servings, setServings] = useState(2);
  const recipe = recipes.find((one) => one.id === id);
  if (!recipe) {
    return <p className="lead">There is no such recipe. <Link to="/">All recipes</Link></p>;
  }
  return (
    <>
      <nav><Link to="/">All recipes</Link></nav>
      <h1>{recipe.title}</h1>
      <p className="lead">{recipe.minutes} minutes · {recipe.words}</p>
      <section className="card">
        <div className="servings">
          <button type="button" onClick={() => setServings(Math.max(1, servings - 1))} aria-label="Fewer">−</button>
          <span>for {servings}</span>
          <button type="button" onClick={() => setServings(servings + 1)} aria-label="More">+</button>
        </div>
        <ul>
          {recipe.ingredients.map(([amount, unit, name]) => (
            <li key={name}>{amount * servings} {unit} {name}</li>
          ))}
        </ul>
      </section>
      <section className="card">
        <ol>{recipe.steps.map((step) => <li key={step}>{step}</li>)}</ol>
      </section>
    </>
  );
}
