import { Link } from 'react-router';
import { recipes } from './recipes.js';

export function RecipeList() {
  return (
    <>
      <h1>Three suppers</h1>
      <p className="lead">What can be on the table within half an hour.</p>
      <ul className="recipes">
        {recipes.map(({ id, title, minutes, words }) => (
          <li key={id}>
            <Link className="card" to={`/recipes/${id}`}>
              <strong>{title}</strong>
              <span className="quiet">{minutes} minutes · {words}</span>
            </Link>
          </li>
        ))}
      </ul>
    </>
  );
}
